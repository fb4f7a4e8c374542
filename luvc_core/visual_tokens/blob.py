"""Visual tokens as one safetensors blob with its own checksum. Never pickle.

The metadata hold everything that is no tensor, and a SHA-256 over the whole blob, computed while
the digest's own bytes are zeros.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.int8 import from_int8, to_int8
from luvc_core.visual_tokens.selection import InvalidSelection, TokenSelection
from luvc_core.visual_tokens.vision_tokens import (
    Grid,
    Piece,
    Separators,
    VideoFrames,
    VisionTokens,
)

_ZEROS = "0" * 64
_MAX_HEADER_BYTES = 1 << 20
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class BadValue(Exception):
    """A damaged blob, or another one than was asked for. The text says what is wrong, for logs."""


def to_blob(tokens: VisionTokens, key: str, in_int8: bool = False) -> bytes:
    """Write tokens to a blob.

    Args:
        tokens: of one image or video.
        key: under which they are stored.
        in_int8: eight bits a number: smaller, and not exact.
    """
    about = {
        "key": key,
        "identity": asdict(tokens.identity),
        "pieces": [asdict(piece) for piece in tokens.pieces],
        "merge_sha256": tokens.merge_sha256,
        "source_positions": tokens.source_positions,
        "clip": asdict(tokens.video) if tokens.video else None,
        "detail": tokens.detail,
    }
    tensors = {
        "embeddings": tokens.selected_embeddings.contiguous(),
        "positions": tokens.positions.contiguous(),
        "sizes": tokens.sizes.contiguous(),
    }
    if tokens.selection is not None:
        tensors["kept"] = tokens.selection.indices
        if tokens.selection.counts is not None:
            tensors["kept_counts"] = tokens.selection.counts
    if in_int8:
        tensors["embeddings"], tensors["scales"] = to_int8(tensors["embeddings"])
    blank = save(tensors, {"luvc": json.dumps(about), "sha256": _ZEROS})
    return _replace_digest(blank, _ZEROS, _digest(blank, _ZEROS))


def checksum_of(blob: bytes) -> str:
    """Read the SHA-256, hex, that a blob says it has. Raises BadValue."""
    return _metadata(blob)["sha256"]


def from_blob(blob: bytes, key: str) -> VisionTokens:
    """Read the tokens stored under `key`.

    Raises BadValue unless the blob is intact and was written under that key. The caller compares
    their `identity` with the model that it serves.
    """
    metadata = _metadata(blob)
    if _digest(blob, metadata["sha256"]) != metadata["sha256"]:
        raise BadValue("the checksum does not fit")
    try:
        about = json.loads(metadata["luvc"])
        if about["key"] != key:
            raise BadValue("kept under another key")
        tensors = load(blob)
        if "scales" in tensors:
            tensors["embeddings"] = from_int8(tensors["embeddings"], tensors["scales"])
        pieces = tuple(_piece(piece) for piece in about["pieces"])
        count = sum(piece.token_count for piece in pieces)
        embeddings, selection = tensors["embeddings"], _selection(tensors, count)
        if selection is not None:
            embeddings = selection.scatter(embeddings, count)
        tokens = VisionTokens(
            embeddings,
            pieces,
            tensors["positions"],
            tensors["sizes"],
            identity=Identity(**about["identity"]),
            merge_sha256=about["merge_sha256"],
            source_positions=about["source_positions"],
            video=VideoFrames(**about["clip"]) if about["clip"] else None,
            selection=selection,
            # Blobs of earlier releases do not have it.
            detail=float(about.get("detail", 0.0)),
        )
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as error:
        raise BadValue(f"malformed: {type(error).__name__}: {error}") from None
    _check_numbers(tokens)
    return tokens


def _selection(tensors: Mapping[str, Tensor], token_count: int) -> TokenSelection | None:
    indices, counts = tensors.get("kept"), tensors.get("kept_counts")
    if indices is None and counts is None:
        return None
    # A blob holds the size of every token, so that its own bytes bound how many there can be.
    size_count = len(tensors["sizes"])
    if size_count != token_count:
        raise BadValue(f"{size_count} sizes of {token_count} tokens")
    if indices is None:
        raise BadValue("kept counts without kept places")
    selection = TokenSelection(indices, counts)
    try:
        selection.check(token_count)
    except InvalidSelection as error:
        part = "kept places" if error.part == "indices" else "kept counts"
        raise BadValue(f"{part}: {error.problem}, not {error.allowed}") from None
    return selection


def _check_numbers(tokens: VisionTokens) -> None:
    if tokens.embeddings.dtype not in _DTYPES:
        raise BadValue(f"embeddings of {tokens.embeddings.dtype}")
    for name in ("positions", "sizes"):
        if getattr(tokens, name).dtype != torch.float32:
            raise BadValue(f"{name} not float32")
    for name in ("embeddings", "positions", "sizes"):
        if not torch.isfinite(getattr(tokens, name)).all():
            raise BadValue(f"{name} not finite")
    total, count = float(tokens.sizes.sum()), sum(p.source_grid.token_count for p in tokens.pieces)
    if not math.isclose(total, count, rel_tol=1e-3):
        raise BadValue(f"sizes sum to {total:g}, not {count}")


def _piece(fields: dict[str, Any]) -> Piece:
    if fields["separators"] not in get_args(Separators):
        raise BadValue("unknown separators")
    return Piece(Grid(**fields["grid"]), Grid(**fields["source_grid"]), fields["separators"])


def _metadata(blob: bytes) -> dict[str, str]:
    try:
        length = int.from_bytes(blob[:8], "little")
        if not 0 < length <= min(_MAX_HEADER_BYTES, len(blob) - 8):
            raise BadValue("cut short, or no safetensors")
        metadata: dict[str, str] = json.loads(blob[8 : 8 + length])["__metadata__"]
        if len(bytes.fromhex(metadata["sha256"])) != 32:
            raise BadValue("no checksum")
        return metadata
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadValue(f"malformed header: {type(error).__name__}") from None


def _header_end(blob: bytes) -> int:
    return 8 + int.from_bytes(blob[:8], "little")


def _replace_digest(blob: bytes, old: str, new: str) -> bytes:
    end = _header_end(blob)
    return b"".join((_replace_in_header(blob[:end], old, new), memoryview(blob)[end:]))


def _replace_in_header(header: bytes, old: str, new: str) -> bytes:
    return header.replace(b'"sha256":"' + old.encode(), b'"sha256":"' + new.encode(), 1)


def _digest(blob: bytes, present: str) -> str:
    end = _header_end(blob)
    digest = hashlib.sha256(_replace_in_header(blob[:end], present, _ZEROS))
    digest.update(memoryview(blob)[end:])
    return digest.hexdigest()
