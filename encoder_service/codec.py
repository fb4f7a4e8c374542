"""Protobuf to dataclasses and back."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from google.protobuf import duration_pb2, json_format
from luvc.v1 import chat_pb2, compression_pb2, decoder_pb2, tokens_pb2
from luvc.wire.fields import fields_of, seconds_of

from luvc_core.chat import Message, Role, SamplingParams, check_conversation
from luvc_core.compression.profiles import BUILT_IN, Profiles
from luvc_core.compression.settings import Compression, SpuSettings
from luvc_core.compression.settings_from_dict import compression_from_dict
from luvc_core.errors import InvalidInput
from luvc_core.visual_tokens.hashing import tensor_bytes
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.int8 import to_int8
from luvc_core.visual_tokens.vision_tokens import Piece, Separators, VisionTokens

ROLES: dict[int, Role] = {
    chat_pb2.ROLE_SYSTEM: "system",
    chat_pb2.ROLE_USER: "user",
    chat_pb2.ROLE_ASSISTANT: "assistant",
}
DTYPES = {
    torch.float32: tokens_pb2.D_TYPE_FLOAT32,
    torch.bfloat16: tokens_pb2.D_TYPE_BFLOAT16,
    torch.float16: tokens_pb2.D_TYPE_FLOAT16,
    torch.int8: tokens_pb2.D_TYPE_INT8,
}

SEPARATORS: dict[Separators, tokens_pb2.Separators] = {
    "none": tokens_pb2.SEPARATORS_NONE,
    "row": tokens_pb2.SEPARATORS_ROW,
    "piece": tokens_pb2.SEPARATORS_PIECE,
}


@dataclass(frozen=True)
class MediaFile:
    """A picture or clip as it came, and the part of the request it stands in.

    digest: SHA-256 of its content, empty where the caller did not say. Without data it stands for
    what was sent before.
    """

    data: bytes
    field: str
    digest: bytes = b""


Conversation = tuple[Message[MediaFile], ...]


def conversation_from(messages: Sequence[chat_pb2.ChatMessage]) -> Conversation:
    """Raises InvalidInput unless the conversation can be answered."""
    conversation = tuple(_message_from(m, f"messages[{i}]") for i, m in enumerate(messages))
    check_conversation(conversation)
    return conversation


def _message_from(message: chat_pb2.ChatMessage, field: str) -> Message[MediaFile]:
    if message.role not in ROLES:
        raise InvalidInput(f"{field}.role", f"got {message.role}", ", ".join(ROLES.values()))
    parts = (_part_from(part, f"{field}.parts[{j}]") for j, part in enumerate(message.parts))
    return Message(ROLES[message.role], tuple(parts))


def _part_from(part: chat_pb2.ContentPart, field: str) -> str | MediaFile:
    match part.WhichOneof("part"):
        case "text":
            return part.text
        case "media":
            return media_from(part.media, f"{field}.media")
        case _:
            raise InvalidInput(field, "empty", "text or media")


def media_from(media: chat_pb2.Media, field: str) -> MediaFile:
    """Raises InvalidInput where the digest is none."""
    if len(media.digest_sha256) not in (0, 32):
        got = f"{len(media.digest_sha256)} bytes"
        raise InvalidInput(f"{field}.digest_sha256", got, "32 bytes, or none")
    return MediaFile(media.data, field, media.digest_sha256)


def media_in(conversation: Conversation) -> list[MediaFile]:
    """All pictures and clips, in reading order."""
    return [part for m in conversation for part in m.parts if isinstance(part, MediaFile)]


def check_sampling(sampling: chat_pb2.Sampling) -> None:
    """Raise InvalidSettings for values out of range, before any work is done."""
    SamplingParams(**fields_of(sampling) | {"stop": tuple(sampling.stop)})


def compression_from(
    choice: compression_pb2.Compression, default: str, profiles: Profiles = BUILT_IN
) -> Compression:
    """What to apply. `default` is the profile where the request names none."""
    fields = fields_of(choice)
    return compression_from_dict(fields, profiles) if fields else profiles.get(default)


def seconds_from(timeout: duration_pb2.Duration) -> float:
    """Raises InvalidInput unless it is above 0."""
    seconds = seconds_of(timeout)
    if seconds <= 0:
        raise InvalidInput("timeout", f"got {seconds:g} s", "above 0")
    return seconds


def messages_to(conversation: Conversation) -> list[chat_pb2.ChatMessage]:
    """The conversation for the decoder: media keep their places and lose their bytes."""
    numbers = {role: number for number, role in ROLES.items()}
    return [
        chat_pb2.ChatMessage(
            role=numbers[message.role],  # type: ignore[arg-type]
            parts=[
                chat_pb2.ContentPart(text=part)
                if isinstance(part, str)
                else chat_pb2.ContentPart(media=chat_pb2.Media())
                for part in message.parts
            ],
        )
        for message in conversation
    ]


def tokens_to(
    tokens: VisionTokens, in_int8: bool = False, sparse: bool = False
) -> tokens_pb2.VisionTokens:
    """Visual tokens as they travel. Every tensor's bytes are made once. sparse: without positions
    and sizes where the LLM does not need them."""
    digest = hashlib.sha256()
    embeddings = tokens.selected_embeddings
    parts = {"embeddings": embeddings}
    if tokens.source_positions or not sparse:
        parts |= {"positions": tokens.positions, "sizes": tokens.sizes}
    if in_int8:
        parts["embeddings"], parts["scales"] = to_int8(embeddings)
    tensors = {}
    for name, tensor in parts.items():
        data = tensor_bytes(tensor)
        digest.update(data)
        tensors[name] = tokens_pb2.Tensor(dtype=DTYPES[tensor.dtype], shape=tensor.shape, data=data)
    selection = tokens.selection
    kept = [] if selection is None else selection.indices.tolist()
    counts = [] if selection is None or selection.counts is None else selection.counts.tolist()
    digest.update(struct.pack(f"<{len(kept) + len(counts)}I", *kept, *counts))
    message = tokens_pb2.VisionTokens(
        embeddings=tensors["embeddings"],
        positions=tensors.get("positions"),
        sizes=tensors.get("sizes"),
        scales=tensors.get("scales"),
        checksum_sha256=digest.digest(),
        identity=tokens_pb2.ModelIdentity(**asdict(tokens.identity)),
        merge_sha256=tokens.merge_sha256,
        source_positions=tokens.source_positions,
        kept_places=kept,
        kept_counts=counts,
    )
    if tokens.video:
        message.clip.count = tokens.video.count
        message.clip.interval_seconds = tokens.video.interval
    _write_pieces(message, tokens.pieces)
    return message


def _write_pieces(message: tokens_pb2.VisionTokens, pieces: Sequence[Piece]) -> None:
    """The simple form where it is enough, so that decoders of the first release understand it."""
    simple = [piece.separators for piece in pieces] == ["none"]
    for piece in pieces:
        target = message if simple else message.pieces.add(separators=SEPARATORS[piece.separators])
        target.grid.CopyFrom(tokens_pb2.Grid(**asdict(piece.grid)))
        target.source_grid.CopyFrom(tokens_pb2.Grid(**asdict(piece.source_grid)))


def identity_from(identity: tokens_pb2.ModelIdentity) -> Identity:
    """The decoder's identity."""
    return Identity(**{f.name: getattr(identity, f.name) for f in identity.DESCRIPTOR.fields})


def spu_to(request: decoder_pb2.DecoderServiceGenerateRequest, spu: SpuSettings | None) -> None:
    """Write the pruning settings into a request; off stays unset."""
    if spu is None:
        return
    fields = asdict(spu)
    schedule = fields.pop("schedule")
    if "shares" in schedule:
        request.spu.keep.shares.extend(schedule["shares"])
    else:
        schedule["shape"] = "SCHEDULE_SHAPE_" + schedule["shape"].upper()
        json_format.ParseDict({"ramp": schedule}, request.spu)
    for name, prefix in (
        ("score", "PRUNING_SCORE_"),
        ("axis", "SPECTRUM_AXIS_"),
        ("sampling", "SPECTRUM_SAMPLING_"),
    ):
        fields[name] = prefix + fields[name].upper()
    json_format.ParseDict(fields, request.spu)
