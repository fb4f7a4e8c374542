"""The calls of luvc.v1.EncoderService."""

import logging
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from luvc.fields import duration_of, seconds_of
from luvc.v1 import decoder_pb2, encoder_pb2, encoder_pb2_grpc, usage_pb2

from encoder_service import codec
from encoder_service.config import EncoderConfig
from encoder_service.decoder_client import DecoderClient
from encoder_service.errors import status_of
from encoder_service.vision import Encoded, Vision
from luvc_core.config import Compression
from luvc_core.deadline import Deadline
from luvc_core.errors import InvalidInput
from luvc_core.slots import Slots

log = logging.getLogger(__name__)


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """Answers every accepted request with a result or a typed error, within its deadline."""

    def __init__(self, vision: Vision, decoder: DecoderClient, config: EncoderConfig) -> None:
        self._vision = vision
        self._decoder = decoder
        self._config = config
        self._slots = Slots(config.max_active, config.max_waiting)

    async def Generate(self, request: encoder_pb2.GenerateRequest, context: Any) -> None:
        arrival = time.monotonic()
        request_id = request.request_id[:100] or uuid.uuid4().hex
        try:
            asked = codec.seconds_from(request.timeout) if request.HasField("timeout") else None
            deadline = Deadline.after(self._config.timeout, asked, context.time_remaining())
            answer = _Answer(request, request_id, arrival, deadline)
            # Writing from this coroutine, rather than yielding, closes what is below at once when
            # the client cancels.
            async with self._slots.take(deadline), aclosing(self._answer(answer)) as responses:
                async for response in responses:
                    await deadline.wait_for(context.write(response))
        except Exception as error:
            await _abort(context, error, request_id)

    async def Encode(
        self, request: encoder_pb2.EncodeRequest, context: Any
    ) -> encoder_pb2.EncodeResponse:
        request_id = uuid.uuid4().hex
        try:
            deadline = Deadline.after(self._config.timeout, context.time_remaining())
            compression = codec.compression_from(request.compression, self._config.profile)
            if not request.media:
                raise InvalidInput("media", "empty", "at least one picture or clip")
            media = [codec.MediaFile(m.data, f"media[{i}]") for i, m in enumerate(request.media)]
            async with self._slots.take(deadline):
                encoded = await self._vision.encode(media, compression.oim, deadline)
            return encoder_pb2.EncodeResponse(vision_tokens=encoded.messages)
        except Exception as error:
            await _abort(context, error, request_id)
            raise

    async def _answer(self, answer: "_Answer") -> AsyncGenerator[encoder_pb2.GenerateResponse]:
        conversation = codec.conversation_from(answer.request.messages)
        codec.check_sampling(answer.request.sampling)
        compression = codec.compression_from(answer.request.compression, self._config.profile)
        deadline = answer.deadline
        await self._decoder.check(deadline)
        encoded = Encoded((), (), 0.0, 0.0, 0.0)
        if media := codec.media_in(conversation):
            encoded = await self._vision.encode(media, compression.oim, deadline)
        call = decoder_pb2.DecoderServiceGenerateRequest(
            messages=codec.messages_to(conversation),
            vision_tokens=encoded.messages,
            sampling=answer.request.sampling,
            timeout=duration_of(deadline.left),
            request_id=answer.request_id,
        )
        codec.spu_to(call, compression.spu)
        called, first = time.monotonic(), None
        async with aclosing(self._decoder.generate(call, deadline)) as pieces:
            async for piece in pieces:
                first = first or time.monotonic()
                response = encoder_pb2.GenerateResponse(
                    text=piece.text, finish_reason=piece.finish_reason
                )
                if piece.HasField("usage"):
                    answer.called, answer.first = called, first
                    response.usage.CopyFrom(_usage(answer, piece.usage, encoded, compression))
                yield response


@dataclass
class _Answer:
    """A request on its way; moments are on the monotonic clock, in seconds."""

    request: encoder_pb2.GenerateRequest
    request_id: str
    arrival: float
    deadline: Deadline
    called: float = 0.0
    first: float = 0.0


def _usage(
    answer: _Answer, decoded: usage_pb2.Usage, encoded: Encoded, compression: Compression
) -> usage_pb2.Usage:
    """The decoder's accounts, completed by what only the front door knows."""
    usage = usage_pb2.Usage()
    usage.CopyFrom(decoded)
    usage.source_visual_token_count = sum(t.source_token_count for t in encoded.tokens)
    usage.merged_visual_token_count = sum(t.token_count for t in encoded.tokens)
    usage.wire_byte_count = sum(t.byte_count for t in encoded.tokens)
    usage.uncompressed_byte_count = sum(t.uncompressed_byte_count for t in encoded.tokens)
    usage.frame_count = sum(t.clip.count for t in encoded.tokens if t.clip)
    usage.profile = compression.name
    times = usage.times
    # Both clocks measure only spans of their own, so that they need not agree.
    at_decoder = seconds_of(decoded.times.time_to_first_token)
    spans = {
        "transfer": answer.first - answer.called - at_decoder,
        "time_to_first_token": answer.first - answer.arrival,
        "total": time.monotonic() - answer.arrival,
    }
    if encoded.tokens:
        spans["media"] = encoded.media_seconds
        spans["encode_queue"] = encoded.queue_seconds
        spans["encode"] = encoded.encode_seconds
    for name, seconds in spans.items():
        getattr(times, name).CopyFrom(duration_of(max(0.0, seconds)))
    return usage


async def _abort(context: Any, error: Exception, request_id: str) -> None:
    """End the call with a typed error. Does nothing to a call that grpc has ended already."""
    if isinstance(error, grpc.aio.AbortError | grpc.aio.UsageError):
        raise error
    status = status_of(error, request_id)
    log.info("request %s ended with %s: %s", request_id, status.code.name, status.message)
    await context.abort(status.code, status.message, status.trailing_metadata)
