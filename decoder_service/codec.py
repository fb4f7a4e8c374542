"""Protobuf to dataclasses and back. What arrives is checked before any model sees it."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import torch
from luvc.fields import duration_of, fields_of, seconds_of
from luvc.v1 import chat_pb2, decoder_pb2, tokens_pb2, usage_pb2
from torch import Tensor

from luvc_core.chat import Message, Role, Sampling, check_conversation
from luvc_core.eight_bits import from_int8
from luvc_core.engine.engine import FinishReason, Request, Result
from luvc_core.errors import InvalidInput
from luvc_core.parsing import spu_from_dict
from luvc_core.tokens import (
    ClipFrames,
    Grid,
    Identity,
    Piece,
    Separators,
    VisionTokens,
    check_identity,
)

ROLES: dict[int, Role] = {
    chat_pb2.ROLE_SYSTEM: "system",
    chat_pb2.ROLE_USER: "user",
    chat_pb2.ROLE_ASSISTANT: "assistant",
}
FINISH_REASONS: dict[FinishReason, chat_pb2.FinishReason] = {
    "stop": chat_pb2.FINISH_REASON_STOP,
    "length": chat_pb2.FINISH_REASON_LENGTH,
}
DTYPES = {
    tokens_pb2.D_TYPE_FLOAT32: torch.float32,
    tokens_pb2.D_TYPE_BFLOAT16: torch.bfloat16,
    tokens_pb2.D_TYPE_FLOAT16: torch.float16,
    tokens_pb2.D_TYPE_INT8: torch.int8,
}

TOKEN_CODECS = (tokens_pb2.TOKEN_CODEC_NATIVE, tokens_pb2.TOKEN_CODEC_INT8)
SEPARATORS: dict[int, Separators] = {
    tokens_pb2.SEPARATORS_UNSPECIFIED: "none",
    tokens_pb2.SEPARATORS_NONE: "none",
    tokens_pb2.SEPARATORS_ROW: "row",
    tokens_pb2.SEPARATORS_PIECE: "piece",
}


def question_from(
    request: decoder_pb2.DecoderServiceGenerateRequest,
    served: Identity,
    fetched: Mapping[int, VisionTokens],
) -> Request:
    """Raises InvalidInput naming the field, or IdentityMismatch for another model's tokens.

    fetched: tokens that the request only refers to, by their place in vision_tokens.
    """
    tokens = [
        fetched.get(i) or tokens_from(message, f"vision_tokens[{i}]", served)
        for i, message in enumerate(request.vision_tokens)
    ]
    sampling = Sampling(**fields_of(request.sampling) | {"stop": tuple(request.sampling.stop)})
    spu = spu_from_dict(fields_of(request.spu)) if request.HasField("spu") else None
    return Request(messages_from(request.messages, tokens), sampling, spu)


def timeout_from(request: decoder_pb2.DecoderServiceGenerateRequest) -> float | None:
    """Seconds left for the answer; None where the request does not say."""
    if not request.HasField("timeout"):
        return None
    seconds = seconds_of(request.timeout)
    if seconds <= 0:
        raise InvalidInput("timeout", f"got {seconds:g} s", "above 0")
    return seconds


def messages_from(
    messages: Sequence[chat_pb2.ChatMessage], tokens: Sequence[VisionTokens]
) -> tuple[Message[VisionTokens], ...]:
    """The conversation, with visual tokens where its media parts stand."""
    places = sum(part.WhichOneof("part") == "media" for m in messages for part in m.parts)
    if places != len(tokens):
        raise InvalidInput("vision_tokens", f"got {len(tokens)}", f"{places}, one a media part")
    remaining = iter(tokens)
    conversation = tuple(
        _message_from(message, f"messages[{i}]", remaining) for i, message in enumerate(messages)
    )
    check_conversation(conversation)
    return conversation


def _message_from(
    message: chat_pb2.ChatMessage, field: str, tokens: Iterator[VisionTokens]
) -> Message[VisionTokens]:
    if message.role not in ROLES:
        raise InvalidInput(f"{field}.role", f"got {message.role}", ", ".join(ROLES.values()))
    parts: list[str | VisionTokens] = []
    for j, part in enumerate(message.parts):
        kind = part.WhichOneof("part")
        if kind is None:
            raise InvalidInput(f"{field}.parts[{j}]", "empty", "text or media")
        if part.media.data:
            raise InvalidInput(f"{field}.parts[{j}].media.data", "not empty", "vision_tokens")
        parts.append(part.text if kind == "text" else next(tokens))
    return Message(ROLES[message.role], tuple(parts))


def tokens_from(message: tokens_pb2.VisionTokens, field: str, served: Identity) -> VisionTokens:
    """Visual tokens, checked against the served model, their own grids and their checksum."""
    made_by = identity_from(message.identity)
    check_identity(made_by, served)
    pieces = _pieces_from(message, field)
    count = sum(piece.token_count for piece in pieces)
    source_count = sum(piece.source_grid.token_count for piece in pieces)
    shapes = {
        "embeddings": (count, served.hidden_size),
        "positions": (count, 3),
        "sizes": (count,),
    }
    if message.embeddings.dtype == tokens_pb2.D_TYPE_INT8:
        shapes["scales"] = (count,)
    digest = hashlib.sha256()
    tensors = {
        name: _tensor_from(getattr(message, name), f"{field}.{name}", shape, digest)
        for name, shape in shapes.items()
    }
    if digest.digest() != message.checksum_sha256:
        raise InvalidInput(f"{field}.checksum_sha256", "does not fit the data")
    if "scales" in tensors:
        tensors["embeddings"] = from_int8(tensors["embeddings"], tensors["scales"])
        if not torch.isfinite(tensors["embeddings"]).all():
            raise InvalidInput(f"{field}.scales", "make numbers that are not finite")
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
        clip=_clip_from(message, f"{field}.clip"),
    )


def _clip_from(message: tokens_pb2.VisionTokens, field: str) -> ClipFrames | None:
    if not message.HasField("clip"):
        return None
    clip = ClipFrames(message.clip.count, message.clip.interval_seconds)
    if clip.count < 1:
        raise InvalidInput(f"{field}.count", f"got {clip.count}", ">= 1")
    if not (math.isfinite(clip.interval) and clip.interval >= 0):
        raise InvalidInput(f"{field}.interval_seconds", f"got {clip.interval}", ">= 0, finite")
    return clip


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


def identity_to(identity: Identity) -> tokens_pb2.ModelIdentity:
    """Who this decoder serves."""
    return tokens_pb2.ModelIdentity(**asdict(identity))


def usage_to(result: Result, queued: float, first_text: float, total: float) -> usage_pb2.Usage:
    """The decoder's part of the accounts. Times are in seconds from the request's arrival here."""
    return usage_pb2.Usage(
        prompt_token_count=result.prompt_token_count,
        completion_token_count=result.completion_token_count,
        source_visual_token_count=result.source_visual_token_count,
        merged_visual_token_count=result.merged_visual_token_count,
        layer_averaged_visual_token_count=result.layer_averaged_visual_token_count,
        layer_visual_token_counts=result.layer_visual_token_counts,
        pruning_left_out=result.pruning_left_out,
        times=usage_pb2.StageTimes(
            prefill_queue=duration_of(queued),
            prefill=duration_of(result.prefill_seconds),
            decode=duration_of(result.decode_seconds),
            time_to_first_token=duration_of(first_text),
            total=duration_of(total),
        ),
    )
