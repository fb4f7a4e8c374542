"""The calls of luvc.v1.EncoderService."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
from luvc.v1 import encoder_pb2, encoder_pb2_grpc, tokens_pb2
from luvc.wire import traces
from luvc.wire.traces import Span

from encoder_service.api.idempotency import InFlightByKey
from encoder_service.api.plan import RequestPlan, plan_request
from encoder_service.api.usage import RequestState, note_encoding, usage_of
from encoder_service.config import EncoderConfig
from encoder_service.encoding.pipeline import EncodedMedia, EncodingPipeline
from encoder_service.errors import status_of
from encoder_service.metrics import Metrics
from encoder_service.tenants import Tenants
from encoder_service.transfer.decoder_call import DecoderCall
from encoder_service.transfer.decoder_client import DecoderClient
from encoder_service.transfer.token_sender import TokenSender, TransferOptions
from luvc_core.compression.profiles import Profiles
from luvc_core.compression.settings import SpuSettings
from luvc_core.errors import InvalidInput
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.deadline import Deadline
from luvc_core.runtime.log_format import log_extra, request_id_of
from luvc_core.runtime.request_timeline import RequestTimeline
from luvc_core.wire.chat import read_media_file
from luvc_core.wire.compression import read_compression
from luvc_core.wire.generate import read_timeout, write_decoder_request

log = logging.getLogger(__name__)

SERVICE: str = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """Answers every accepted request with a result or a typed error, within its deadline.

    Attributes:
        limiter: bounds how many requests are at work and how many wait.
    """

    def __init__(
        self,
        pipeline: EncodingPipeline,
        token_sender: TokenSender,
        decoder: DecoderClient,
        tenants: Tenants,
        profiles: Profiles,
        config: EncoderConfig,
        metrics: Metrics,
    ) -> None:
        self._tenants = tenants
        self._profiles = profiles
        self._pipeline = pipeline
        self._token_sender = token_sender
        self._decoder = decoder
        self._config = config
        self._metrics = metrics
        self.limiter = AdmissionLimiter(config.max_active, config.max_waiting)
        self._in_flight = InFlightByKey()

    async def Generate(self, request: encoder_pb2.GenerateRequest, context: Any) -> None:
        """Answer a conversation, piece by piece."""
        timeline = RequestTimeline()
        request_id = request_id_of(request.request_id)
        async with self._call("Generate", context, request_id) as span:
            asked = read_timeout(request)
            deadline = Deadline.after(self._config.timeout, asked, context.time_remaining())
            tenant = self._tenants.of(context.invocation_metadata())
            state = RequestState(request, request_id, deadline, tenant, span, timeline)
            key = (tenant, request.idempotency_key[:100])
            await self._in_flight.run(key, self._answer(state, context))

    async def Encode(
        self, request: encoder_pb2.EncodeRequest, context: Any
    ) -> encoder_pb2.EncodeResponse:
        """Encode images and videos, and return their visual tokens."""
        request_id = uuid.uuid4().hex
        async with self._call("Encode", context, request_id):
            deadline = Deadline.after(self._config.timeout, context.time_remaining())
            compression = read_compression(
                request.compression, self._config.profile, self._profiles
            )
            if not request.media:
                raise InvalidInput("media", "empty", "at least one picture or clip")
            media = [read_media_file(m, f"media[{i}]") for i, m in enumerate(request.media)]
            tenant = self._tenants.of(context.invocation_metadata())
            async with self._tenants.slot(tenant, deadline), self.limiter.slot(deadline):
                encoded = await self._pipeline.tokens_for(media, compression.oim, deadline, tenant)
                payload = await self._token_sender.inline_payload(encoded.entries, deadline)
        return encoder_pb2.EncodeResponse(vision_tokens=payload.messages)

    async def FetchTokens(self, request: encoder_pb2.FetchTokensRequest, context: Any) -> None:
        """Stream a held blob to the decoder that shows its handle, chunk by chunk."""
        request_id = uuid.uuid4().hex
        async with self._call("FetchTokens", context, request_id):
            deadline = Deadline.after(self._config.timeout, context.time_remaining())
            for chunk in self._token_sender.chunks(request.handle):
                await deadline.wait_for(context.write(chunk))

    @asynccontextmanager
    async def _call(self, method: str, context: Any, request_id: str) -> AsyncIterator[Span]:
        """Trace and count a call for the time of the block, and yield its span.

        An exception in the block ends the call with a typed error.
        """
        code, text = grpc.StatusCode.OK, ""
        span = traces.span(f"{SERVICE}/{method}", "server", context.invocation_metadata() or ())
        span.set_attributes(luvc__request_id=request_id)
        try:
            yield span
        except (asyncio.CancelledError, grpc.aio.AbortError, grpc.aio.UsageError):
            # The caller has left, and grpc has ended the call already.
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            status = status_of(error, request_id)
            code, text = status.code, status.message
            log.info(
                "request %s ended with %s: %s",
                request_id,
                code.name,
                status.message,
                extra=log_extra(request_id),
            )
            await context.abort(code, status.message, status.trailing_metadata)
        finally:
            self._metrics.record_end(method, code.name)
            span.end_call(code.name, text)

    async def _answer(self, state: RequestState, context: Any) -> None:
        """Answer a request once it is its turn: plan, encode, call the decoder, stream."""
        deadline = state.deadline
        busy = self.limiter.is_full
        async with self._tenants.slot(state.tenant, deadline), self.limiter.slot(deadline):
            plan = plan_request(state.request, self._profiles, self._config.profile, busy)
            await self._decoder.check_compatible(deadline)
            encoded = await self._encode(state, plan)
            call = self._decoder_call(state, plan, encoded)
            # Writing from this coroutine, rather than yielding to grpc, closes the call of the
            # decoder at once when the client cancels.
            async with aclosing(self._stream(state, plan, encoded, call)) as responses:
                async for response in responses:
                    await deadline.wait_for(context.write(response))

    async def _encode(self, state: RequestState, plan: RequestPlan) -> EncodedMedia:
        """Get the visual tokens of all images and videos of a request."""
        with state.span.part("encode") as span:
            encoded = await self._pipeline.tokens_for(
                plan.media, plan.compression.oim, state.deadline, state.tenant, strict=plan.strict
            )
            note_encoding(span, encoded)
        return encoded

    def _decoder_call(
        self, state: RequestState, plan: RequestPlan, encoded: EncodedMedia
    ) -> DecoderCall:
        """Build the request to the decoder, but for the visual tokens."""
        spu = plan.compression.spu_for(tokens.detail for tokens in encoded.tokens)
        request = write_decoder_request(
            plan.conversation,
            state.request,
            spu,
            timeout=state.deadline.seconds_left,
            request_id=state.request_id,
        )
        options = self._transfer_options(state, spu)
        return DecoderCall(
            request, encoded.entries, options, state.deadline, state.span, not plan.strict
        )

    def _transfer_options(self, state: RequestState, spu: SpuSettings | None) -> TransferOptions:
        """Choose the form of the tokens: as the request wants it, where the decoder takes it."""
        int8, decoder = tokens_pb2.TOKEN_CODEC_INT8, self._decoder
        in_int8 = state.request.token_codec == int8 and int8 in decoder.codecs
        return TransferOptions(decoder.sources, in_int8, decoder.takes_sparse, spu)

    async def _stream(
        self, state: RequestState, plan: RequestPlan, encoded: EncodedMedia, call: DecoderCall
    ) -> AsyncGenerator[encoder_pb2.GenerateResponse]:
        """Call the decoder and pass on its answer, with the usage completed at its end."""
        state.timeline.call_decoder()
        async with aclosing(call.pieces(self._token_sender, self._decoder)) as pieces:
            async for piece in pieces:
                if not piece.text and not piece.HasField("usage"):
                    continue
                gap = state.timeline.add_piece(has_text=bool(piece.text))
                if gap is not None:
                    self._metrics.record_gap(gap)
                response = encoder_pb2.GenerateResponse(
                    text=piece.text, finish_reason=piece.finish_reason
                )
                if piece.HasField("usage"):
                    usage = usage_of(state, plan, encoded, call, piece.usage)
                    response.usage.CopyFrom(usage)
                    self._metrics.record_answer(usage, len(plan.media))
                yield response
