"""Digests of tensors."""

import hashlib

import torch
from torch import Tensor


def sha256_of(*tensors: Tensor) -> str:
    """Compute the SHA-256, hex, over the raw bytes of tensors, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes:
    """Copy out a tensor of any dtype as row-major little-endian bytes."""
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
