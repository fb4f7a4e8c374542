"""The visual tokens of one image or video: what the encoder sends and the decoder checks."""

import math
from dataclasses import replace

import torch
from luvc.v1 import tokens_pb2
from torch import Tensor

from luvc_core.errors import InvalidInput, PromptTooLong
from luvc_core.visual_tokens.identity import Identity, check_identity
from luvc_core.visual_tokens.int8 import from_int8, to_int8
from luvc_core.visual_tokens.vision_tokens import Piece, VisionTokens, even_positions
from luvc_core.wire.grids import read_pieces, read_video_frames, write_pieces, write_video_frames
from luvc_core.wire.identity import read_identity, write_identity
from luvc_core.wire.selection import read_selection, write_selection
from luvc_core.wire.tensors import DTYPES, checksum, read_tensor, write_tensor

# How embeddings may travel: as the tower made them, or in int8 with a scale for each token.
TOKEN_CODECS = (tokens_pb2.TOKEN_CODEC_NATIVE, tokens_pb2.TOKEN_CODEC_INT8)


def write_vision_tokens(
    tokens: VisionTokens, in_int8: bool = False, sparse: bool = False
) -> tokens_pb2.VisionTokens:
    """Write visual tokens. Copies and digests megabytes: keep it off event loops.

    Args:
        tokens: those of one image or video. Only the embeddings that the LLM sees are written.
        in_int8: eight bits a number, which is smaller and not exact.
        sparse: without positions and sizes where the LLM does not need them. Only for decoders
            that say `takes_sparse_tokens`.
    """
    tensors = {"embeddings": tokens.selected_embeddings}
    if tokens.source_positions or not sparse:
        tensors |= {"positions": tokens.positions, "sizes": tokens.sizes}
    if in_int8:
        tensors["embeddings"], tensors["scales"] = to_int8(tensors["embeddings"])
    # Copied from a GPU once, for both the message and the checksum.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    written = {name: write_tensor(tensor) for name, tensor in tensors.items()}

    message = tokens_pb2.VisionTokens(
        embeddings=written["embeddings"],
        positions=written.get("positions"),
        sizes=written.get("sizes"),
        scales=written.get("scales"),
        identity=write_identity(tokens.identity),
        merge_sha256=tokens.merge_sha256,
        source_positions=tokens.source_positions,
        clip=write_video_frames(tokens.video) if tokens.video else None,
    )
    message.MergeFrom(write_pieces(tokens.pieces))
    message.MergeFrom(write_selection(tokens.selection))
    message.checksum_sha256 = checksum(tensors, message.kept_places, message.kept_counts)
    return message


def read_vision_tokens(
    message: tokens_pb2.VisionTokens, field: str, served: Identity, max_tokens: int
) -> VisionTokens:
    """Read visual tokens, checked before any model sees them.

    Args:
        message: tokens that are no reference.
        field: the message's name in errors.
        served: the model that is to read the tokens.
        max_tokens: how many there may be where not all of them travelled.

    Raises:
        IdentityMismatch: for tokens of another model.
        PromptTooLong: for more than `max_tokens` of which some did not travel.
        InvalidInput: where a field does not fit the model, the grids or the checksum.
    """
    identity = read_identity(message.identity)
    check_identity(identity, served)
    pieces = read_pieces(message, field)
    token_count = sum(piece.token_count for piece in pieces)
    has_positions = message.HasField("positions")
    if token_count > max_tokens and (message.kept_places or not has_positions):
        # Tokens that did not travel cost the sender nothing: their number needs a bound here.
        raise PromptTooLong(token_count, max_tokens)
    selection = read_selection(message, field, token_count)
    row_count = token_count if selection is None else len(selection)

    shapes: dict[str, tuple[int, ...]] = {"embeddings": (row_count, served.hidden_size)}
    if message.source_positions or has_positions:
        shapes |= {"positions": (token_count, 3), "sizes": (token_count,)}
    if message.embeddings.dtype == tokens_pb2.D_TYPE_INT8:
        shapes["scales"] = (row_count,)
    tensors = _read_tensors(message, field, shapes)
    if "positions" not in tensors:
        tensors["positions"], tensors["sizes"] = even_positions(pieces)
    _check_sizes(tensors["sizes"], f"{field}.sizes", pieces)
    if selection is not None:
        tensors["embeddings"] = selection.scatter(tensors["embeddings"], token_count)
    has_frames = message.HasField("clip")

    return VisionTokens(
        tensors["embeddings"],
        pieces,
        tensors["positions"],
        tensors["sizes"],
        identity=identity,
        merge_sha256=message.merge_sha256,
        source_positions=message.source_positions,
        video=read_video_frames(message.clip, f"{field}.clip") if has_frames else None,
        selection=selection,
    )


def _read_tensors(
    message: tokens_pb2.VisionTokens, field: str, shapes: dict[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Read the tensors that `shapes` names, check them against the checksum, and undo int8."""
    tensors = {
        name: read_tensor(
            getattr(message, name),
            f"{field}.{name}",
            shape,
            dtypes=tuple(DTYPES) if name == "embeddings" else (torch.float32,),
        )
        for name, shape in shapes.items()
    }
    if checksum(tensors, message.kept_places, message.kept_counts) != message.checksum_sha256:
        raise InvalidInput(f"{field}.checksum_sha256", "does not fit the data")
    if "scales" in tensors:
        tensors["embeddings"] = from_int8(tensors["embeddings"], tensors["scales"])
        if not torch.isfinite(tensors["embeddings"]).all():
            raise InvalidInput(f"{field}.scales", "make numbers that are not finite")
    return tensors


def _check_sizes(sizes: Tensor, field: str, pieces: tuple[Piece, ...]) -> None:
    total, count = float(sizes.sum()), sum(piece.source_grid.token_count for piece in pieces)
    if not math.isclose(total, count, rel_tol=1e-3):
        raise InvalidInput(field, f"sum to {total:g}", f"{count}")


def apply_selection(
    tokens: VisionTokens, message: tokens_pb2.VisionTokens, field: str
) -> VisionTokens:
    """Select among fetched tokens those that the request wants; a store keeps all of them.

    Args:
        tokens: what the reference led to.
        message: the reference, with the request's selection beside it.
        field: the message's name in errors.

    Raises:
        InvalidInput: for a selection that does not fit the tokens.
    """
    if not message.kept_places:
        return tokens
    return replace(tokens, selection=read_selection(message, field, tokens.token_count))
