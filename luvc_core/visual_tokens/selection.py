"""The visual tokens of one image that the LLM sees, chosen before its first layer."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


class InvalidSelection(ValueError):
    """A selection that does not fit its image.

    Attributes:
        part: which field of the selection is wrong.
        problem: what it holds.
        allowed: what it may hold.
    """

    def __init__(self, part: Literal["indices", "counts"], problem: str, allowed: str) -> None:
        self.part = part
        self.problem = problem
        self.allowed = allowed
        super().__init__(f"{part}: {problem}; allowed: {allowed}")


@dataclass(frozen=True)
class TokenSelection:
    """The visual tokens of one image that the LLM sees, and how many of all each one represents.

    Attributes:
        indices: int64 [selected], strictly ascending, into the image's tokens.
        counts: int64 [selected], how many of the image's tokens each selected one represents in
            the LLM's attention; None for one each.
    """

    indices: Tensor
    counts: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def check(self, token_count: int) -> None:
        """Raise InvalidSelection unless it selects from an image of `token_count` tokens."""
        indices, counts = self.indices, self.counts
        inside = bool((indices >= 0).all() and (indices < token_count).all())
        if indices.dtype != torch.int64 or not inside or not (indices.diff() > 0).all():
            allowed = f"strictly ascending, below {token_count}"
            raise InvalidSelection("indices", "no places of these tokens", allowed)
        if counts is None:
            return
        if counts.dtype != torch.int64 or counts.shape != indices.shape:
            raise InvalidSelection("counts", f"{counts.numel()} numbers", f"{len(self)}, or none")
        least, total = int(counts.min()) if len(counts) else 0, int(counts.sum())
        if least < 1 or total != token_count:
            allowed = f"each at least 1, {token_count} together"
            raise InvalidSelection("counts", f"{least} at least, {total} together", allowed)

    def scatter(self, rows: Tensor, token_count: int) -> Tensor:
        """Put the selected rows back to their indices, with zeros in between.

        Args:
            rows: [selected, hidden].
            token_count: how many tokens the image has.

        Returns:
            [token_count, hidden].
        """
        return rows.new_zeros(token_count, rows.shape[1]).index_copy(0, self.indices, rows)
