"""Merging in 1-D, over the whole raster as one line: what OIM exists to avoid.

For experiments alone, hence not among the product's settings: it keeps the number of tokens that a
projector needs, but not which of them are neighbours.
"""

import torch
from torch import Tensor

from benchmarks.common.merging_override import Merge
from luvc_core.compression.algorithms.merging import merge_grid
from luvc_core.compression.algorithms.token_grid import TokenGrid


def merge_flat(
    state: TokenGrid, target_rows: int, target_columns: int, metric: Tensor, **settings: object
) -> TokenGrid:
    """As `merge_grid`, by the same pairing of even with odd tokens, but along the raster.

    What is left keeps its order, and every `target_columns` of it count as a row. Each token still
    says by `positions` where it truly comes from.
    """
    line = TokenGrid(*(_as_line(x) for x in (state.hidden, state.sizes, state.positions)))
    count = target_rows * target_columns
    merged = merge_grid(line, 1, count, _as_line(metric), **settings)  # type: ignore[arg-type]
    fields = (merged.hidden, merged.sizes, merged.positions)
    shape = (-1, target_rows, target_columns)
    return TokenGrid(*(x.reshape(*shape, *x.shape[3:]) for x in fields))


class Recorder:
    """Merges one picture of one frame by `merge`, and keeps account of what becomes of what."""

    def __init__(self, merge: Merge) -> None:
        self._merge = merge
        self._members: TokenGrid | None = None

    def __call__(
        self, state: TokenGrid, rows: int, columns: int, metric: Tensor, **settings: object
    ) -> TokenGrid:
        if self._members is None:
            count = state.rows * state.columns
            self._source = (state.rows, state.columns)
            one_hot = torch.eye(count).view(1, state.rows, state.columns, count)
            self._members = TokenGrid.of_source(one_hot)
        # The choice depends on metric and sizes alone, so the one-hot tokens merge alike.
        self._members = self._merge(self._members, rows, columns, metric, **settings)
        return self._merge(state, rows, columns, metric, **settings)

    def owners(self, side: int) -> Tensor:
        """Which visual token each source token is part of: int64 [source rows, source columns].

        side: of the blocks of merged tokens that the projector makes one visual token of. They
        are numbered in raster order.
        """
        assert self._members is not None
        member = self._members.hidden[0] > 0
        row = torch.arange(self._members.rows).view(-1, 1) // side
        column = torch.arange(self._members.columns) // side
        token = row * (self._members.columns // side) + column
        place = member.flatten(0, 1).int().argmax(dim=0)
        return token.flatten()[place].view(self._source)


def _as_line(x: Tensor) -> Tensor:
    """[frames, rows, columns, ...] -> [frames, 1, rows * columns, ...]"""
    return x.flatten(1, 2).unsqueeze(1)


def displacement(owners: Tensor, rows: int, columns: int) -> float:
    """How far the visual token that a patch becomes stands from where the patch is, on average.

    owners: as of Recorder, for visual tokens on a grid of `rows` x `columns`; in their places.
    """
    height, width = owners.shape
    row = (torch.arange(height) + 0.5).view(-1, 1) * rows / height - 0.5
    column = (torch.arange(width) + 0.5) * columns / width - 0.5
    return float(torch.hypot(owners // columns - row, owners % columns - column).mean())
