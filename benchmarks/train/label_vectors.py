"""Label atoms as vectors in the language model's word-embedding space.

A visual token is taught to be the sum of the vectors of the atoms true in its cell; a cell in
which nothing is true is taught the `blank` vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from transformers import Qwen2Tokenizer

from ..tasks import Sample
from ..tasks.words import (
    CATEGORIES,
    CHART_TITLES,
    CITIES,
    CODE_LETTERS,
    COLORS,
    DIGITS,
    DOCUMENT_TITLES,
    KEYS,
    NAMES,
    SHAPES,
)

STD = 0.3
VARIANT_STD = 0.05
PLACES = 6
MARKS = ("object", "bar", "value", "largest", "smallest")
BLANK = "blank"


def atom_names() -> list[str]:
    """Return every atom in a fixed order."""
    printed = (*CATEGORIES, *CHART_TITLES, *KEYS, *NAMES, *CITIES, *DOCUMENT_TITLES)
    words = dict.fromkeys((*COLORS, *SHAPES, *MARKS, *(word.lower() for word in printed)))
    chars = [f"{parity}:{char}" for parity in (0, 1) for char in DIGITS + CODE_LETTERS]
    return [BLANK, *words, *chars, *(f"#{place}" for place in range(PLACES))]


@dataclass(frozen=True)
class AtomTable:
    """Vectors of the atoms.

    Attributes:
        vectors: [atoms, hidden], float32.
        embedding: [vocabulary, hidden], float32.
    """

    names: tuple[str, ...]
    vectors: torch.Tensor
    embedding: torch.Tensor

    def multi_hot(self, sample: Sample) -> torch.Tensor:
        """Return what is true where: [cells, atoms] float32, cells in raster order."""
        index = {name: i for i, name in enumerate(self.names)}
        rows, cols = sample.grid
        hot = torch.zeros(rows * cols, len(self.names))
        if sample.labels:
            cells = [label.row * cols + label.col for label in sample.labels]
            hot[cells, [index[label.atom] for label in sample.labels]] = 1.0
        hot[:, 0] = (hot.sum(1) == 0).float()
        return hot


def place_codes(hidden: int, side: int = 16, seed: int = 1) -> torch.Tensor:
    """Return codes of rows and columns, where positions do not tell them: [side, side, hidden].

    A visual token carries its code. Codes are smooth, so that a token merged from neighbours lies
    between them.

    Args:
        hidden: width of the model.
        side: of the grid.
        seed: of the codes.
    """
    dice = torch.Generator().manual_seed(seed)
    basis = 0.5 * STD * torch.randn(2, 4, hidden, generator=dice)
    at = math.pi * (torch.arange(side) + 0.5) / side
    waves = torch.stack([at.cos(), at.sin(), (4 * at).cos(), (4 * at).sin()], 1)
    rows, columns = waves @ basis[0], waves @ basis[1]
    return rows[:, None] + columns[None]


def newline_vector(hidden: int, seed: int = 2) -> torch.Tensor:
    """Return the token that ends a row of visual tokens, where the family has one: [hidden]."""
    return STD * torch.randn(hidden, generator=torch.Generator().manual_seed(seed))


def build_table(tokenizer: Qwen2Tokenizer, hidden: int, seed: int = 0) -> AtomTable:
    """Make random word embeddings; forms of a word (case, leading space) share most of theirs.

    Args:
        tokenizer: whose words.
        hidden: width of the model.
        seed: of the embeddings.
    """
    dice = torch.Generator().manual_seed(seed)
    base: dict[str, torch.Tensor] = {}
    embedding = torch.empty(len(tokenizer), hidden)
    for token in range(len(tokenizer)):
        text = tokenizer.decode([token])
        family = text.strip().lower() if len(text.strip()) > 1 else text
        fresh = STD * torch.randn(hidden, generator=dice)
        variant = VARIANT_STD * torch.randn(hidden, generator=dice)
        embedding[token] = base.setdefault(family, fresh) + variant
    names = atom_names()
    orders = [torch.randperm(hidden, generator=dice) for _ in range(2)]
    vectors = torch.empty(len(names), hidden)
    for i, name in enumerate(names):
        if name[1:2] == ":":
            token = tokenizer.convert_tokens_to_ids(name[2])
            vectors[i] = embedding[token][orders[int(name[0])]]
        elif name[0] == "#" or name == BLANK:
            vectors[i] = STD * torch.randn(hidden, generator=dice)
        else:
            vectors[i] = base[name]
    return AtomTable(tuple(names), vectors, embedding)


def noisy_sums(hot: torch.Tensor, table: AtomTable, level: float) -> torch.Tensor:
    """Return label sums as a tower of limited skill would give them; `level` 0 is exact.

    Args:
        hot: [..., cells, atoms].
        table: of the atoms.
        level: of noise.

    Returns:
        [..., cells, hidden].
    """
    kept = hot * (torch.rand_like(hot) > 0.06 * level)
    added = (torch.rand_like(hot) < 0.0006 * level).float()
    weights = (kept + added) * (1 - 0.5 * level * torch.rand_like(hot))
    sums = weights @ table.vectors
    return sums + level * 0.12 * torch.rand(*hot.shape[:-2], 1, 1) * torch.randn_like(sums)


def keep_cells(hot: torch.Tensor, names: tuple[str, ...], share: float) -> torch.Tensor:
    """Choose which cells stay: those that tell something, and a share of the empty ones: [cells].

    Cells that repeat what their object or bar is (coloured, without a mark) are thinned as well.

    Args:
        hot: [cells, atoms].
        names: of the atoms.
        share: of the empty cells.
    """
    if share >= 1:
        return torch.ones(len(hot), dtype=torch.bool)
    marks = [names.index("object"), names.index("value")]
    colors = slice(1, 1 + len(COLORS))
    repeats = (hot[:, colors].sum(1) > 0) & (hot[:, marks].sum(1) == 0)
    chance = torch.where(hot[:, 0] > 0, share, torch.where(repeats, max(0.25, share), 1.0))
    return torch.rand(len(hot)) < chance
