"""Tensors of visual tokens, and the checksum over those of one VisionTokens message."""

import hashlib
import math
import struct
from collections.abc import Collection, Mapping, Sequence

import torch
from luvc.v1 import tokens_pb2
from torch import Tensor

from luvc_core.errors import InvalidInput
from luvc_core.visual_tokens.hashing import byte_view, tensor_bytes

DTYPES: dict[torch.dtype, tokens_pb2.DType] = {
    torch.float32: tokens_pb2.D_TYPE_FLOAT32,
    torch.bfloat16: tokens_pb2.D_TYPE_BFLOAT16,
    torch.float16: tokens_pb2.D_TYPE_FLOAT16,
    torch.int8: tokens_pb2.D_TYPE_INT8,
}
_DTYPES_BY_NUMBER: dict[int, torch.dtype] = {number: dtype for dtype, number in DTYPES.items()}
# The order that tokens.proto states for checksum_sha256.
_CHECKSUM_ORDER = ("embeddings", "positions", "sizes", "scales")


def write_tensor(tensor: Tensor) -> tokens_pb2.Tensor:
    """Write a tensor of one of DTYPES. Its bytes are copied: keep large ones off event loops."""
    return tokens_pb2.Tensor(
        dtype=DTYPES[tensor.dtype], shape=tensor.shape, data=tensor_bytes(tensor)
    )


def read_tensor(
    message: tokens_pb2.Tensor,
    field: str,
    shape: tuple[int, ...],
    dtypes: Collection[torch.dtype] = tuple(DTYPES),
) -> Tensor:
    """Read a tensor into memory of its own, which may be written to.

    Args:
        message: the tensor.
        field: the message's name in errors.
        shape: the only shape that is accepted.
        dtypes: those that are accepted.

    Raises:
        InvalidInput: for another shape, dtype or number of bytes, and for NaN or infinity.
    """
    dtype = _DTYPES_BY_NUMBER.get(message.dtype)
    if dtype is None or dtype not in dtypes:
        names = ", ".join(tokens_pb2.DType.Name(DTYPES[d]) for d in dtypes)
        raise InvalidInput(f"{field}.dtype", f"got {message.dtype}", names)
    if tuple(message.shape) != shape:
        raise InvalidInput(f"{field}.shape", f"got {list(message.shape)}", f"{list(shape)}")
    data = message.data  # every access copies it
    byte_count = math.prod(shape) * dtype.itemsize
    if len(data) != byte_count:
        raise InvalidInput(f"{field}.data", f"has {len(data)} bytes", f"{byte_count}")
    # A bytearray, since torch must not be handed memory that Python believes constant.
    tensor = torch.frombuffer(bytearray(data), dtype=dtype).view(shape)
    if dtype.is_floating_point and not torch.isfinite(tensor).all():
        raise InvalidInput(f"{field}.data", "holds numbers that are not finite")
    return tensor


def checksum(
    tensors: Mapping[str, Tensor], kept_places: Sequence[int], kept_counts: Sequence[int]
) -> bytes:
    """Compute the SHA-256 that `checksum_sha256` of a VisionTokens message holds.

    Args:
        tensors: those of the message, by the names of its fields, as they travel.
        kept_places: of the message; each counts as four little-endian bytes.
        kept_counts: likewise, after the places.
    """
    digest = hashlib.sha256()
    for name in _CHECKSUM_ORDER:
        if name in tensors:
            digest.update(byte_view(tensors[name]))
    numbers = (*kept_places, *kept_counts)
    digest.update(struct.pack(f"<{len(numbers)}I", *numbers))
    return digest.digest()
