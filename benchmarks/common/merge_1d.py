"""Merge tokens in 1-D, over the whole raster as one line: what OIM exists to avoid.

For experiments only, hence not among the product's settings: it keeps the number of tokens that a
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
    """Merge as `merge_grid` does, but along the raster as one line.

    Even tokens are paired with odd ones in the same way. What is left keeps its order, and every
    `target_columns` of it count as a row. Each token still says by `positions` where it comes from.

    Args:
        state: [frames, rows, columns, ...], the grid.
        target_rows: rows of the result.
        target_columns: columns of the result.
        metric: [frames, rows, columns, dim], compared by cosine.
        settings: as of `merge_grid`.

    Returns:
        The merged grid.
    """
    line = TokenGrid(*(_as_line(x) for x in (state.hidden, state.sizes, state.positions)))
    count = target_rows * target_columns
    merged = merge_grid(line, 1, count, _as_line(metric), **settings)  # type: ignore[arg-type]
    fields = (merged.hidden, merged.sizes, merged.positions)
    shape = (-1, target_rows, target_columns)
    return TokenGrid(*(x.reshape(*shape, *x.shape[3:]) for x in fields))


class Recorder:
    """Merges one image of one frame by `merge`, and records what each token becomes part of."""

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
        """Return the visual token of each source token: int64 [source rows, source columns].

        Visual tokens are numbered in raster order.

        Args:
            side: of the blocks of merged tokens that the projector makes one visual token of.
        """
        assert self._members is not None
        member = self._members.hidden[0] > 0
        row = torch.arange(self._members.rows).view(-1, 1) // side
        column = torch.arange(self._members.columns) // side
        token = row * (self._members.columns // side) + column
        owner_index = member.flatten(0, 1).int().argmax(dim=0)
        return token.flatten()[owner_index].view(self._source)


def _as_line(x: Tensor) -> Tensor:
    """Reshape [frames, rows, columns, ...] to [frames, 1, rows * columns, ...]."""
    return x.flatten(1, 2).unsqueeze(1)


def displacement(owners: Tensor, rows: int, columns: int) -> float:
    """Return how far visual tokens stand from the patches in them, on average, in visual tokens.

    Args:
        owners: int64 [patch rows, patch columns], the visual token of each patch, as of Recorder.
        rows: of the grid of visual tokens.
        columns: of the grid of visual tokens.
    """
    height, width = owners.shape
    row = (torch.arange(height) + 0.5).view(-1, 1) * rows / height - 0.5
    column = (torch.arange(width) + 0.5) * columns / width - 0.5
    return float(torch.hypot(owners // columns - row, owners % columns - column).mean())
