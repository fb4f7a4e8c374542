"""Tokens of a vision tower in rows and columns, and how many source tokens each one holds."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenGrid:
    """Tokens of frames of equal shape, on their way from the source grid to a smaller one.

    Attributes:
        hidden: [frames, rows, columns, dim].
        sizes: float32 [frames, rows, columns], how many source tokens each one stands for.
        positions: float32 [frames, rows, columns, 2], (row, column) in the source grid; may be
            fractional.
    """

    hidden: Tensor
    sizes: Tensor
    positions: Tensor

    @classmethod
    def of_source(cls, hidden: Tensor) -> "TokenGrid":
        """Make the grid before any merging. hidden: [frames, rows, columns, dim]."""
        frames, rows, columns, _ = hidden.shape
        device = hidden.device
        row, column = torch.meshgrid(
            torch.arange(rows, dtype=torch.float32, device=device),
            torch.arange(columns, dtype=torch.float32, device=device),
            indexing="ij",
        )
        positions = torch.stack((row, column), dim=-1).expand(frames, rows, columns, 2)
        sizes = torch.ones(frames, rows, columns, dtype=torch.float32, device=device)
        return cls(hidden, sizes, positions)

    @property
    def rows(self) -> int:
        """Rows of each frame."""
        return self.hidden.shape[1]

    @property
    def columns(self) -> int:
        """Columns of each frame."""
        return self.hidden.shape[2]

    def transposed(self) -> "TokenGrid":
        """Exchange rows and columns; the positions stay (row, column)."""
        return TokenGrid(
            self.hidden.transpose(1, 2), self.sizes.transpose(1, 2), self.positions.transpose(1, 2)
        )
