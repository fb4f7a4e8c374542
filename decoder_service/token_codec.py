"""Visual tokens as they arrive, checked before any model sees them."""

import hashlib
import math
import struct
from dataclasses import replace

import torch
from luvc.v1 import tokens_pb2
from torch import Tensor

from luvc_core.errors import InvalidInput, PromptTooLong
from luvc_core.visual_tokens.identity import Identity, check_identity
from luvc_core.visual_tokens.int8 import from_int8
from luvc_core.visual_tokens.selection import InvalidSelection, TokenSelection
from luvc_core.visual_tokens.vision_tokens import (
    Grid,
    Piece,
    Separators,
    VideoFrames,
    VisionTokens,
    even_positions,
)

DTYPES = {
    tokens_pb2.D_TYPE_FLOAT32: torch.float32,
    tokens_pb2.D_TYPE_BFLOAT16: torch.bfloat16,
    tokens_pb2.D_TYPE_FLOAT16: torch.float16,
    tokens_pb2.D_TYPE_INT8: torch.int8,
}
SEPARATORS: dict[int, Separators] = {
    tokens_pb2.SEPARATORS_UNSPECIFIED: "none",
    tokens_pb2.SEPARATORS_NONE: "none",
    tokens_pb2.SEPARATORS_ROW: "row",
    tokens_pb2.SEPARATORS_PIECE: "piece",
}


def tokens_from(
    message: tokens_pb2.VisionTokens, field: str, served: Identity, most: int
) -> VisionTokens:
    """Visual tokens, checked against the served model, their own grids and their checksum.

    most: how many there may be where not all of them travelled.
    """
    made_by = identity_from(message.identity)
    check_identity(made_by, served)
    pieces = _pieces_from(message, field)
    count = sum(piece.token_count for piece in pieces)
    if count > most and (message.kept_places or not message.HasField("positions")):
        # Bytes that did not come must not make room for tokens without end.
        raise PromptTooLong(count, most)
    source_count = sum(piece.source_grid.token_count for piece in pieces)
    selection = selection_from(message, count, field)
    row_count = count if selection is None else len(selection)
    shapes: dict[str, tuple[int, ...]] = {"embeddings": (row_count, served.hidden_size)}
    if message.source_positions or message.HasField("positions"):
        shapes |= {"positions": (count, 3), "sizes": (count,)}
    if message.embeddings.dtype == tokens_pb2.D_TYPE_INT8:
        shapes["scales"] = (row_count,)
    digest = hashlib.sha256()
    tensors = {
        name: _tensor_from(getattr(message, name), f"{field}.{name}", shape, digest)
        for name, shape in shapes.items()
    }
    places = (*message.kept_places, *message.kept_counts)
    digest.update(struct.pack(f"<{len(places)}I", *places))
    if digest.digest() != message.checksum_sha256:
        raise InvalidInput(f"{field}.checksum_sha256", "does not fit the data")
    if "scales" in tensors:
        tensors["embeddings"] = from_int8(tensors["embeddings"], tensors["scales"])
        if not torch.isfinite(tensors["embeddings"]).all():
            raise InvalidInput(f"{field}.scales", "make numbers that are not finite")
    if "positions" not in tensors:
        tensors["positions"], tensors["sizes"] = even_positions(pieces)
    if selection is not None:
        tensors["embeddings"] = selection.scatter(tensors["embeddings"], count)
    total = float(tensors["sizes"].sum())
    if not math.isclose(total, source_count, rel_tol=1e-3):
        raise InvalidInput(f"{field}.sizes", f"sum to {total:g}", f"{source_count}")
    return VisionTokens(
        tensors["embeddings"],
        pieces,
        tensors["positions"],
        tensors["sizes"],
        identity=made_by,
        merge_sha256=message.merge_sha256,
        source_positions=message.source_positions,
        video=_video_from(message, f"{field}.clip"),
        selection=selection,
    )


def selection_from(
    message: tokens_pb2.VisionTokens, token_count: int, field: str
) -> TokenSelection | None:
    """Read which of the tokens the LLM sees; None for all of them.

    Args:
        message: tokens, or a reference to them.
        token_count: how many tokens there are, selected or not.
        field: the message's name in errors.

    Raises:
        InvalidInput: for indices or counts that do not fit the tokens.
    """
    if not message.kept_places and not message.kept_counts:
        return None
    indices = torch.tensor(message.kept_places, dtype=torch.int64)
    counts = torch.tensor(message.kept_counts, dtype=torch.int64)
    selection = TokenSelection(indices, counts if len(counts) else None)
    try:
        selection.check(token_count)
    except InvalidSelection as error:
        name = "kept_places" if error.part == "indices" else "kept_counts"
        raise InvalidInput(f"{field}.{name}", error.problem, error.allowed) from None
    return selection


def _video_from(message: tokens_pb2.VisionTokens, field: str) -> VideoFrames | None:
    if not message.HasField("clip"):
        return None
    video = VideoFrames(message.clip.count, message.clip.interval_seconds)
    if video.count < 1:
        raise InvalidInput(f"{field}.count", f"got {video.count}", ">= 1")
    if not (math.isfinite(video.interval) and video.interval >= 0):
        raise InvalidInput(f"{field}.interval_seconds", f"got {video.interval}", ">= 0, finite")
    return video


def _tensor_from(
    message: tokens_pb2.Tensor, field: str, shape: tuple[int, ...], digest: "hashlib._Hash"
) -> Tensor:
    wide = not field.endswith("embeddings")
    allowed = [tokens_pb2.D_TYPE_FLOAT32] if wide else list(DTYPES)
    if message.dtype not in allowed:
        names = ", ".join(tokens_pb2.DType.Name(d) for d in allowed)
        raise InvalidInput(f"{field}.dtype", f"got {message.dtype}", names)
    if tuple(message.shape) != shape:
        raise InvalidInput(f"{field}.shape", f"got {list(message.shape)}", f"{list(shape)}")
    dtype = DTYPES[message.dtype]
    data = message.data  # every access copies it
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise InvalidInput(f"{field}.data", f"has {len(data)} bytes", f"{wanted}")
    digest.update(data)
    # A bytearray, since torch must not be handed memory that Python believes constant.
    tensor = torch.frombuffer(bytearray(data), dtype=dtype).view(shape)
    if dtype.is_floating_point and not torch.isfinite(tensor).all():
        raise InvalidInput(f"{field}.data", "holds numbers that are not finite")
    return tensor


def _pieces_from(message: tokens_pb2.VisionTokens, field: str) -> tuple[Piece, ...]:
    if not message.pieces:
        return (_piece_from(message, field, "none"),)
    pieces = []
    for i, piece in enumerate(message.pieces):
        place = f"{field}.pieces[{i}]"
        if piece.separators not in SEPARATORS:
            allowed = ", ".join(map(tokens_pb2.Separators.Name, SEPARATORS))
            raise InvalidInput(f"{place}.separators", f"got {piece.separators}", allowed)
        pieces.append(_piece_from(piece, place, SEPARATORS[piece.separators]))
    return tuple(pieces)


def _piece_from(
    message: tokens_pb2.Piece | tokens_pb2.VisionTokens, field: str, separators: Separators
) -> Piece:
    grid = _grid_from(message.grid, f"{field}.grid")
    return Piece(grid, _grid_from(message.source_grid, f"{field}.source_grid"), separators)


def _grid_from(message: tokens_pb2.Grid, field: str) -> Grid:
    grid = Grid(message.frames, message.rows, message.columns)
    if grid.token_count < 1:
        raise InvalidInput(field, f"got {grid}", "at least 1x1x1")
    return grid


def identity_from(message: tokens_pb2.ModelIdentity) -> Identity:
    """Who made visual tokens."""
    return Identity(**{f.name: getattr(message, f.name) for f in message.DESCRIPTOR.fields})


def fetched_as_wanted(
    tokens: VisionTokens, message: tokens_pb2.VisionTokens, field: str
) -> VisionTokens:
    """What was fetched, as the request wants it: a store has all tokens, for any request."""
    if not message.kept_places:
        return tokens
    return replace(tokens, selection=selection_from(message, tokens.token_count, field))
