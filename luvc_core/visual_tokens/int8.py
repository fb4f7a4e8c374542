"""Visual tokens in eight bits: integers, and one scale a token."""

import torch
from torch import Tensor

_MOST = 127


def to_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """[tokens, hidden] -> int8 [tokens, hidden], float32 [tokens].

    No number is off by more than half its token's scale, a 254th of that token's largest.
    """
    wide = x.float()
    scales = wide.abs().amax(dim=1) / _MOST
    # A token of zeros, or of numbers too small to divide by, becomes zeros.
    safe = torch.where(scales > 0, scales, torch.ones_like(scales))
    integers = (wide / safe[:, None]).round().clamp(-_MOST, _MOST)
    return integers.to(torch.int8), scales


def from_int8(integers: Tensor, scales: Tensor) -> Tensor:
    """The other way: float32 [tokens, hidden]."""
    return integers.float() * scales[:, None]
