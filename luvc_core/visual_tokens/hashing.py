"""Digests of tensors."""

import hashlib

import torch
from torch import Tensor


def sha256_of(*tensors: Tensor) -> str:
    """Hex digest over the raw bytes of tensors, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes:
    """Row-major little-endian bytes of a tensor of any dtype."""
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
