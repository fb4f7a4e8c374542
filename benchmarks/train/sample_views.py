"""What a family's language model sees of a sample: the order of its tokens, and their positions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..tasks import QA, SERIES, SPLITS, Sample, make_sample, make_series
from .attention_targets import Events, events_of
from .label_vectors import AtomTable, keep_cells, noisy_sums, place_codes
from .model import HIDDEN, SIDE, Family

PADDING, NEWLINE = -1, -2
"""In the place of a cell's number: no visual token, and the token that ends a row or an image."""

STEPS = 4
"""Moments of a video that a model sees: every second of its frames."""


class View(NamedTuple):
    """One sample with its questions.

    Attributes:
        hot: what is true where, [frames, cells, atoms].
        grid: rows and columns of a frame's cells.
        features: the visual tokens of all cells, [frames * cells, hidden].
        events: of a series.
    """

    task: str
    asked: tuple[QA, ...]
    hot: torch.Tensor
    grid: tuple[int, int]
    features: torch.Tensor
    events: Events | None


class Prefix(NamedTuple):
    """What comes before the questions. Whatever is left out keeps the others' positions.

    Attributes:
        ids: of tokens.
        cells: of each token (see PADDING).
        positions: [3, tokens].
        end: the position after all of them.
    """

    ids: list[int]
    cells: list[int]
    positions: torch.Tensor
    end: int


@dataclass(frozen=True)
class Shape:
    """How a task's samples look to a family: frames, pixels on a side, whether 2 x 2 are pooled."""

    frames: int
    side: int
    pooled: bool

    @property
    def grid(self) -> tuple[int, int]:
        side = self.side // 28 // (2 if self.pooled else 1)
        return side, side


def shape_of(family: Family, task: str) -> Shape:
    """Return how a task's samples look to a family."""
    if task == "clip":
        return Shape(STEPS, family.frame, pooled=family.name == "llava-ov")
    return Shape(SERIES[task][0] if task in SERIES else 1,
                 family.frame if task in SERIES else SIDE, pooled=False)  # fmt: skip


def draw(family: Family, task: str, seed: int, paint: bool) -> tuple[list[Sample], list[QA]]:
    """Render the frames that tell each moment, and the questions.

    Painted videos come with every frame.

    Args:
        family: whose frame size and sampling.
        task: of the sample.
        seed: of the sample.
        paint: whether to draw images.
    """
    if task not in SERIES:
        one = make_sample(task, seed, SIDE, draw=paint)
        return [one], list(one.questions)
    series = make_series(task, seed, family.frame, draw=paint)
    frames = list(series.frames)
    if task == "clip":
        # The second of each two; LLaVA-OneVision's processor takes the first.
        frames = frames[0 if family.name == "llava-ov" else 1 :: 2]
    return frames, list(series.questions)


def any_seed(rng: random.Random, split: str) -> int:
    """Choose a seed of a split."""
    pool = SPLITS[split]
    return rng.randrange(pool.start, pool.stop)


class Viewer:
    """Makes a family's views out of labels or of a tower's tokens."""

    def __init__(
        self, family: Family, table: AtomTable, encode: Callable[[str], list[int]]
    ) -> None:
        self.family = family
        self.table = table
        self._encode = encode
        codes = place_codes(HIDDEN) * (not family.has_rows)
        self.codes = {side: codes[:side, :side].flatten(0, 1) for side in (8, 16)}

    def view(
        self, task: str, samples: Sequence[Sample], asked: Sequence[QA], tokens: torch.Tensor
    ) -> View:
        """Make a view of a tower's tokens.

        Args:
            task: of the samples.
            samples: one for each frame.
            asked: the questions.
            tokens: [frames, cells, hidden], one a cell, before any pooling.
        """
        shape = shape_of(self.family, task)
        hot = torch.stack([self.table.multi_hot(sample) for sample in samples])
        if shape.pooled:
            hot, tokens = _pool(hot, F.max_pool2d), _pool(tokens, F.avg_pool2d)
            hot[..., 0] = (hot[..., 1:].sum(-1) == 0).float()
        columns, names = shape.grid[1], self.table.names
        events = events_of(hot, columns, names) if task in SERIES else None
        return View(task, tuple(asked), hot, shape.grid, tokens.flatten(0, 1), events)

    def from_labels(self, task: str, seed: int, level: float) -> View:
        """Make a view of labels alone.

        Args:
            task: of the sample.
            seed: of the sample.
            level: of noise, as in `noisy_sums`.
        """
        samples, asked = draw(self.family, task, seed, paint=False)
        hot = torch.stack([self.table.multi_hot(sample) for sample in samples])
        tokens = noisy_sums(hot, self.table, level) + self.codes[samples[0].grid[0]]
        return self.view(task, samples, asked, tokens)

    def prefix(self, view: View, share: float) -> Prefix:
        """Put a view into the family's order of tokens.

        Args:
            view: the sample.
            share: of the cells that tell nothing, how many stay.
        """
        marks, count = self.family.marks, view.hot.shape[1]
        before, after = ([i for m in part for i in self._encode(m)]
                         for part in ((marks[0],), (marks[1],)))  # fmt: skip
        build = _Builder(view.grid, self.family.has_rows)
        build.text(self._encode("<|im_start|>user\n"))
        frames = range(len(view.hot))
        cells = [list(range(f * count, (f + 1) * count)) for f in frames]
        line = self._encode("\n")
        if self.family.name == "qwen2-vl":
            for group in [frames] if view.task == "clip" else [[f] for f in frames]:
                build.text(before)
                build.frames([cells[f] for f in group])
                build.text(after)
        elif self.family.name == "internvl":
            for f in frames:
                build.text(self._encode(f"Frame{f + 1}: ") if view.task == "clip" else [])
                build.text(before)
                build.frames([cells[f]])
                build.text([*after, *line])
        else:
            columns = view.grid[1]
            if view.task == "clip":
                build.frames([[*[c for own in cells for c in own], NEWLINE]])
            elif len(frames) > 1:
                for f in frames:
                    build.frames([[*cells[f], NEWLINE]])
            else:
                rows = [[*cells[0][i : i + columns], NEWLINE] for i in range(0, count, columns)]
                build.frames([[*cells[0], *[c for row in rows for c in row]]])
            build.text(line)
        kept = keep_cells(view.hot.flatten(0, 1), self.table.names, share)
        return build.prefix(kept)


class _Builder:
    def __init__(self, grid: tuple[int, int], has_rows: bool) -> None:
        self._grid, self._has_rows = grid, has_rows
        self._ids: list[int] = []
        self._cells: list[int] = []
        self._positions: list[tuple[int, int, int]] = []
        self._end = 0

    def text(self, ids: Sequence[int]) -> None:
        self._ids += ids
        self._cells += [PADDING] * len(ids)
        self._positions += [(self._end + i,) * 3 for i in range(len(ids))]
        self._end += len(ids)

    def frames(self, frames: Sequence[Sequence[int]]) -> None:
        """Append visual tokens, as frames of one grid where positions tell rows."""
        for moment, cells in enumerate(frames):
            self._ids += [0] * len(cells)
            self._cells += cells
            if self._has_rows:
                columns = self._grid[1]
                self._positions += [
                    (self._end + moment, self._end + i // columns, self._end + i % columns)
                    for i in range(len(cells))
                ]
            else:
                self._positions += [(self._end + i,) * 3 for i in range(len(cells))]
                self._end += len(cells)
        if self._has_rows:
            self._end += max(len(frames), *self._grid)

    def prefix(self, kept: torch.Tensor) -> Prefix:
        """Return what is kept. kept: [frames * cells], bool."""
        stay = [i for i, cell in enumerate(self._cells) if cell < 0 or kept[cell]]
        return Prefix(
            [self._ids[i] for i in stay],
            [self._cells[i] for i in stay],
            torch.tensor([self._positions[i] for i in stay]).T,
            self._end,
        )


def _pool(cells: torch.Tensor, pool: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Pool 2 x 2 cells of square frames to one: [frames, cells, values]."""
    side = round(cells.shape[1] ** 0.5)
    planes = cells.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return pool(planes, 2).flatten(2).transpose(1, 2).contiguous()
