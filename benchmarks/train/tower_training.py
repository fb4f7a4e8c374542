"""Train a tower, from dense labels, to put true words into visual tokens."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from ..tasks import SERIES, SPLITS, make_sample, make_series
from .label_vectors import AtomTable, build_table, place_codes
from .model import FAMILIES, HIDDEN, build_config, fresh_model
from .optim import Optimizers
from .tokenizer import build_tokenizer
from .towers import TOWERS, WHOLE, Looks, look_gap, to_patches

TASK_SHARES = {"document": 0.29, "chart": 0.27, "scene": 0.34, "clip": 0.05, "pair": 0.05}

LETTER_WEIGHT = 6.0
"""Weight of a letter in a code, which is so much rarer than a digit."""

OBJECT_WEIGHT = 8.0
"""Weight of whether a cell holds an object's middle: one wrong cell makes a count wrong."""

IMITATED_ROWS = 96
"""Patches of each image that are shown where the elder tower's look."""


class Weights(NamedTuple):
    """Weights of each atom in the logistic loss, [atoms].

    Attributes:
        true: where the atom is true.
        always: everywhere.
    """

    true: torch.Tensor
    always: torch.Tensor


class TowerRun:
    """One family's tower, what it is to say, and its optimizers.

    `shares`: how often each task is drawn; `scale`: of all learning rates; `patch_scale`: of the
    patch embedding's besides.
    """

    def __init__(
        self,
        name: str,
        scale: float,
        shares: Mapping[str, float] = TASK_SHARES,
        patch_scale: float = 1.0,
    ) -> None:
        self.shares = shares
        family = FAMILIES[name]
        tokenizer = build_tokenizer(family.marks)
        self.table = build_table(tokenizer, HIDDEN)
        model = fresh_model(build_config(family, tokenizer, 1), family, self.table.embedding)
        self.tower: Any = TOWERS[name](model)
        self.codes = place_codes(HIDDEN) * (not family.has_rows)
        self.elder: Any = None
        names = self.table.names
        self.weights = Weights(
            torch.tensor([LETTER_WEIGHT if _is_letter(atom) else 1.0 for atom in names]),
            torch.tensor([OBJECT_WEIGHT if atom == "object" else 1.0 for atom in names]),
        )
        self.optimizers = Optimizers(self.tower.modules.named_parameters(), scale, patch_scale)

    def draw(
        self, seeds: random.Random, size: tuple[int, int], count: int, split: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw patches [images, patches, values] and multi-hot labels [images, cells, atoms].

        Args:
            seeds: decide.
            size: pixels.
            count: of images.
            split: which seeds.
        """
        tasks = seeds.choices(list(self.shares), list(self.shares.values()), k=count)
        pool, patches, labels = SPLITS[split], [], []
        for task in tasks:
            seed = seeds.randrange(pool.start, pool.stop)
            if task not in SERIES:
                shown = [make_sample(task, seed, size)]
            else:
                # What a temporal patch holds: as many neighbouring frames.
                frames = make_series(task, seed, size).frames
                at = seeds.randrange(0, len(frames), self.tower.temporal)
                moving = self.tower.temporal if task == "clip" else 1
                shown = list(frames[at : at + moving])
            images = [one.image for one in shown if one.image is not None]
            patches.append(to_patches(images, self.tower.side).mean(0))
            labels.append(self.table.multi_hot(shown[-1]))
        return torch.stack(patches), torch.stack(labels)

    def loss(
        self,
        patches: torch.Tensor,
        hot: torch.Tensor,
        size: tuple[int, int],
        corner: tuple[int, int],
        imitation: float = 0.0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss.

        Args:
            patches: [images, patches, values].
            hot: [images, cells, atoms].
            size: pixels.
            corner: cell of the whole canvas where the images begin.
            imitation: weight of looking where the elder tower looks, if there is one.

        Returns:
            The loss, and the tokens without what they say of their place [cells, hidden].
        """
        grid = size[1] // 28, size[0] // 28
        codes = self.codes[corner[0] :, corner[1] :][: grid[0], : grid[1]].flatten(0, 1)
        if self.elder is None or not imitation:
            out = (self.tower.forward(patches, grid, corner) - codes).flatten(0, 1)
            return tower_loss(out, hot.flatten(0, 1), self.table.vectors, self.weights), out
        own: Looks = []
        others: Looks = []
        with torch.no_grad():
            self.elder.forward(patches, grid, corner, others)
        out = (self.tower.forward(patches, grid, corner, own) - codes).flatten(0, 1)
        rows = torch.randperm(patches.shape[1])[:IMITATED_ROWS]
        gap = imitation * look_gap(own, others, rows)
        loss = tower_loss(out, hot.flatten(0, 1), self.table.vectors, self.weights)
        return loss + gap, out

    def step(
        self,
        seeds: random.Random,
        size: tuple[int, int],
        count: int,
        progress: float,
        imitation: float = 0.0,
    ) -> float:
        """Learn from `count` new images of this size, somewhere on the largest canvas.

        Args:
            seeds: decide.
            size: pixels.
            count: of images.
            progress: 0 to 1.
            imitation: as in `loss`.
        """
        patches, hot = self.draw(seeds, size, count, "train")
        corner = seeds.randint(0, WHOLE - size[1] // 28), seeds.randint(0, WHOLE - size[0] // 28)
        loss, _ = self.loss(patches, hot, size, corner, imitation)
        loss.backward()
        self.optimizers.step(progress)
        return loss.item()

    @torch.no_grad()
    def report(self, size: tuple[int, int]) -> str:
        """Return F1 on validation images, by groups of atoms."""
        patches, hot = self.draw(random.Random(1), size, 8, "validation")
        _, out = self.loss(patches, hot, size, (0, 0))
        f1 = f1_by_group(out, hot.flatten(0, 1), self.table)
        return f"{size} " + " ".join(f"{k}={v:.2f}" for k, v in f1.items())

    def follow(self, weights: dict[str, torch.Tensor]) -> None:
        """Have InternVL's tower look where Qwen2-VL's with these weights looks."""
        qwen = FAMILIES["qwen2-vl"]
        config = build_config(qwen, build_tokenizer(qwen.marks), 1)
        self.elder = TOWERS["qwen2-vl"](fresh_model(config, qwen, self.table.embedding))
        self.elder.modules.load_state_dict(weights)


def _is_letter(atom: str) -> bool:
    """Tell whether an atom is a letter at a place in a cell."""
    return atom[1:2] == ":" and atom[2:].isalpha()


def tower_loss(
    out: torch.Tensor, hot: torch.Tensor, vectors: torch.Tensor, weights: Weights
) -> torch.Tensor:
    """Add the squared error to the sum of vectors, and a logistic loss on each atom's filter.

    Args:
        out: [cells, hidden].
        hot: [cells, atoms].
        vectors: [atoms, hidden].
        weights: of the logistic loss.
    """
    squared = F.mse_loss(out, hot @ vectors) / 0.09
    logits = 10 * (scores(out, vectors) - 0.5)
    logistic = F.binary_cross_entropy_with_logits(
        logits, hot, weights.always, pos_weight=weights.true, reduction="sum"
    ) / len(hot)
    return squared + 0.3 * logistic


def scores(out: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Return how much of each atom is in each token, about 1 where true: [cells, atoms]."""
    return out @ (vectors / vectors.square().sum(1, keepdim=True)).T


def f1_by_group(out: torch.Tensor, hot: torch.Tensor, table: AtomTable) -> dict[str, float]:
    """Return F1 over groups of atoms at a score of one half.

    Args:
        out: [cells, hidden].
        hot: [cells, atoms].
        table: of the atoms.
    """
    said, true = scores(out, table.vectors) > 0.5, hot > 0.5
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(table.names):
        group = "char" if name[1:2] == ":" else "place" if name[0] == "#" else name
        known = ("char", "place", "blank", "object", "bar", "value", "largest", "smallest")
        groups.setdefault(group if group in known else "color" if i <= 8 else
                          "shape" if i <= 16 else "word", []).append(i)  # fmt: skip
    result = {}
    for group, members in groups.items():
        hits = (said[:, members] & true[:, members]).sum()
        total = said[:, members].sum() + true[:, members].sum()
        result[group] = float(2 * hits / total.clamp(min=1))
    return result
