"""Requests of both Generate calls, and the usage that ends an answer.

The encoder reads its caller's GenerateRequest field by field, with `read_conversation`,
`read_sampling`, `read_compression` and `read_timeout`, since some fields depend on its settings.
"""

from collections.abc import Mapping

from luvc.v1 import chat_pb2, decoder_pb2, encoder_pb2, usage_pb2
from luvc.wire.fields import duration_of, seconds_of

from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.requests import FinishReason, Request, Result
from luvc_core.errors import InvalidInput
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from luvc_core.wire.chat import (
    Conversation,
    read_conversation_with_tokens,
    read_sampling,
    write_conversation,
)
from luvc_core.wire.compression import read_spu, write_spu
from luvc_core.wire.vision_tokens import apply_selection, read_vision_tokens

FINISH_REASONS: dict[FinishReason, chat_pb2.FinishReason] = {
    "stop": chat_pb2.FINISH_REASON_STOP,
    "length": chat_pb2.FINISH_REASON_LENGTH,
}


def write_decoder_request(
    conversation: Conversation,
    request: encoder_pb2.GenerateRequest,
    spu: SpuSettings | None,
    *,
    timeout: float,
    request_id: str,
) -> decoder_pb2.DecoderServiceGenerateRequest:
    """Write the request to the decoder, still without its visual tokens.

    Args:
        conversation: as read from the caller's request.
        request: of the caller; its sampling and `whole_answer` are passed on as they are.
        spu: pruning in the LLM, None for none.
        timeout: seconds that are left for the answer, not negative.
        request_id: for the logs of both services.
    """
    return decoder_pb2.DecoderServiceGenerateRequest(
        messages=write_conversation(conversation),
        sampling=request.sampling,
        spu=write_spu(spu) if spu else None,
        timeout=duration_of(timeout),
        request_id=request_id,
        whole_answer=request.whole_answer,
    )


def read_decoder_request(
    message: decoder_pb2.DecoderServiceGenerateRequest,
    served: Identity,
    fetched: Mapping[int, VisionTokens],
    max_tokens: int,
) -> Request:
    """Read a request at the decoder.

    Digests megabytes where the tokens are in the request: keep it off event loops.

    Args:
        message: the request.
        served: the model that is to answer.
        fetched: tokens that the request only refers to, by their index in `vision_tokens`.
        max_tokens: how many a prompt may have.

    Raises:
        InvalidInput: naming the field.
        InvalidSettings: for sampling or pruning settings out of range.
        IdentityMismatch: for another model's tokens.
        PromptTooLong: for tokens that did not travel and would exceed `max_tokens`.
    """
    tokens = [
        apply_selection(fetched[i], part, f"vision_tokens[{i}]")
        if i in fetched
        else read_vision_tokens(part, f"vision_tokens[{i}]", served, max_tokens)
        for i, part in enumerate(message.vision_tokens)
    ]
    sampling = read_sampling(message.sampling)
    spu = read_spu(message.spu) if message.HasField("spu") else None
    return Request(read_conversation_with_tokens(message.messages, tokens), sampling, spu)


def read_timeout(
    message: encoder_pb2.GenerateRequest | decoder_pb2.DecoderServiceGenerateRequest,
) -> float | None:
    """Read the seconds that a request allows for its answer; None where it does not say.

    Raises InvalidInput unless they are above 0.
    """
    if not message.HasField("timeout"):
        return None
    seconds = seconds_of(message.timeout)
    if seconds <= 0:
        raise InvalidInput("timeout", f"got {seconds:g} s", "above 0")
    return seconds


def write_usage(result: Result, queued: float, first_text: float, total: float) -> usage_pb2.Usage:
    """Write the decoder's part of the usage.

    Args:
        result: the finished answer.
        queued: seconds before the prefill began.
        first_text: seconds from the request's arrival at the decoder to the first text.
        total: seconds from the request's arrival at the decoder to the end.
    """
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
