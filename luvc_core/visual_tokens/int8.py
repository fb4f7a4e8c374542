"""Visual tokens in eight bits a number, with one scale a token."""

import torch
from torch import Tensor

_MAX_INT8 = 127


def to_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise rows: [tokens, hidden] -> int8 [tokens, hidden] and scales, float32 [tokens].

    No number is off by more than half its token's scale, a 254th of that token's largest number.
    """
    wide = x.float()
    scales = wide.abs().amax(dim=1) / _MAX_INT8
    # A token of zeros, or of numbers too small to divide by, becomes zeros.
    safe = torch.where(scales > 0, scales, torch.ones_like(scales))
    integers = (wide / safe[:, None]).round().clamp(-_MAX_INT8, _MAX_INT8)
    return integers.to(torch.int8), scales


def from_int8(integers: Tensor, scales: Tensor) -> Tensor:
    """Undo `to_int8`: float32 [tokens, hidden]."""
    return integers.float() * scales[:, None]
