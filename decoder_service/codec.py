"""Protobuf to dataclasses and back. What arrives is checked before any model sees it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from luvc.v1 import chat_pb2, decoder_pb2, tokens_pb2, usage_pb2
from luvc.wire.fields import duration_of, fields_of, seconds_of

from decoder_service.token_codec import fetched_as_wanted, tokens_from
from luvc_core.chat import Message, Role, SamplingParams, check_conversation
from luvc_core.compression.settings_from_dict import spu_from_dict
from luvc_core.engine.request_processor import FinishReason, Request, Result
from luvc_core.errors import InvalidInput
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import VisionTokens

ROLES: dict[int, Role] = {
    chat_pb2.ROLE_SYSTEM: "system",
    chat_pb2.ROLE_USER: "user",
    chat_pb2.ROLE_ASSISTANT: "assistant",
}
FINISH_REASONS: dict[FinishReason, chat_pb2.FinishReason] = {
    "stop": chat_pb2.FINISH_REASON_STOP,
    "length": chat_pb2.FINISH_REASON_LENGTH,
}
TOKEN_CODECS = (tokens_pb2.TOKEN_CODEC_NATIVE, tokens_pb2.TOKEN_CODEC_INT8)


def question_from(
    request: decoder_pb2.DecoderServiceGenerateRequest,
    served: Identity,
    fetched: Mapping[int, VisionTokens],
    most_tokens: int,
) -> Request:
    """Raises InvalidInput naming the field, or IdentityMismatch for another model's tokens.

    fetched: tokens that the request only refers to, by their place in vision_tokens. most_tokens:
    that a prompt may have.
    """
    tokens = [
        fetched_as_wanted(fetched[i], message, f"vision_tokens[{i}]")
        if i in fetched
        else tokens_from(message, f"vision_tokens[{i}]", served, most_tokens)
        for i, message in enumerate(request.vision_tokens)
    ]
    sampling = SamplingParams(
        **fields_of(request.sampling) | {"stop": tuple(request.sampling.stop)}
    )
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
