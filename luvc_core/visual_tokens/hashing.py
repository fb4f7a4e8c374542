"""Bytes of tensors, for digests and messages."""

from typing import Any

import torch
from torch import Tensor


def tensor_bytes(tensor: Tensor) -> bytes:
    """Copy the row-major little-endian bytes of a tensor of any dtype."""
    copied: bytes = byte_view(tensor).tobytes()
    return copied


def byte_view(tensor: Tensor) -> Any:
    """View the same bytes as a flat uint8 array of numpy.

    Nothing is copied where the tensor is contiguous and on the CPU.
    """
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
