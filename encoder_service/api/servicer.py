"""The calls of luvc.v1.EncoderService."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from typing import Any

import grpc
from luvc.v1 import compression_pb2, decoder_pb2, encoder_pb2, encoder_pb2_grpc, tokens_pb2
from luvc.wire import traces
from luvc.wire.fields import duration_of
from luvc.wire.status import reason_of
from luvc.wire.traces import Span

from encoder_service.api.idempotency import InFlightByKey
from encoder_service.api.usage import RequestState, tell, usage_of
from encoder_service.config import EncoderConfig
from encoder_service.encoding.pipeline import Encoded, EncodingPipeline
from encoder_service.errors import Refused, status_of
from encoder_service.metrics import Metrics
from encoder_service.tenants import Tenants
from encoder_service.transfer.decoder_client import DecoderClient
from encoder_service.transfer.token_sender import TokenSender, TransferOptions
from luvc_core.compression.profiles import Profiles
from luvc_core.compression.settings import Compression, SpuSettings
from luvc_core.errors import InvalidInput, TokensLost
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.deadline import Deadline
from luvc_core.runtime.log_format import of_request, request_id_of
from luvc_core.wire.chat import media_in, read_conversation, read_media_file, read_sampling
from luvc_core.wire.compression import read_compression
from luvc_core.wire.generate import read_timeout, write_decoder_request

log = logging.getLogger(__name__)

SERVICE: str = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name
TOKENS_LOST = reason_of(TokensLost(""))


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """Answers every accepted request with a result or a typed error, within its deadline."""

    def __init__(
        self,
        plane: EncodingPipeline,
        carrier: TokenSender,
        decoder: DecoderClient,
        tenants: Tenants,
        profiles: Profiles,
        config: EncoderConfig,
        metrics: Metrics,
    ) -> None:
        self._tenants = tenants
        self._profiles = profiles
        self._plane = plane
        self._carrier = carrier
        self._decoder = decoder
        self._config = config
        self._metrics = metrics
        self.slots = AdmissionLimiter(config.max_active, config.max_waiting)
        self._attempts = InFlightByKey()

    async def Generate(self, request: encoder_pb2.GenerateRequest, context: Any) -> None:
        arrival = time.monotonic()
        request_id = request_id_of(request.request_id)
        async with self._call("Generate", context, request_id) as span:
            asked = read_timeout(request)
            deadline = Deadline.after(self._config.timeout, asked, context.time_remaining())
            tenant = self._tenants.of(context.invocation_metadata())
            answer = RequestState(request, request_id, arrival, deadline, tenant, span)
            key = (answer.tenant, request.idempotency_key[:100])
            await self._attempts.run(key, self._respond(answer, context))

    async def _respond(self, answer: RequestState, context: Any) -> None:
        deadline = answer.deadline
        answer.waited = self.slots.are_taken
        # Writing from this coroutine, rather than yielding, closes what is below at once when the
        # client cancels.
        async with (
            self._tenants.turn(answer.tenant, deadline),
            self.slots.take(deadline),
            aclosing(self._answer(answer)) as responses,
        ):
            async for response in responses:
                await deadline.wait_for(context.write(response))

    async def Encode(
        self, request: encoder_pb2.EncodeRequest, context: Any
    ) -> encoder_pb2.EncodeResponse:
        request_id = uuid.uuid4().hex
        async with self._call("Encode", context, request_id):
            deadline = Deadline.after(self._config.timeout, context.time_remaining())
            compression = self._compression(request.compression)
            if not request.media:
                raise InvalidInput("media", "empty", "at least one picture or clip")
            media = [read_media_file(m, f"media[{i}]") for i, m in enumerate(request.media)]
            tenant = self._tenants.of(context.invocation_metadata())
            async with self._tenants.turn(tenant, deadline), self.slots.take(deadline):
                encoded = await self._plane.encode(media, compression.oim, deadline, tenant)
                load = await self._carrier.inline(encoded.entries, deadline)
        return encoder_pb2.EncodeResponse(vision_tokens=load.messages)

    async def FetchTokens(self, request: encoder_pb2.FetchTokensRequest, context: Any) -> None:
        request_id = uuid.uuid4().hex
        async with self._call("FetchTokens", context, request_id):
            deadline = Deadline.after(self._config.timeout, context.time_remaining())
            for piece in self._carrier.pieces(request.handle):
                await deadline.wait_for(context.write(piece))

    def _compression(self, choice: compression_pb2.Compression) -> Compression:
        return read_compression(choice, self._config.profile, self._profiles)

    @asynccontextmanager
    async def _call(self, method: str, context: Any, request_id: str) -> AsyncIterator[Span]:
        """Ends a call that fails with a typed error; counts how it ended, and gives its span."""
        code, text = grpc.StatusCode.OK, ""
        span = traces.span(f"{SERVICE}/{method}", "server", context.invocation_metadata() or ())
        span.note(luvc__request_id=request_id)
        try:
            yield span
        except (asyncio.CancelledError, grpc.aio.AbortError, grpc.aio.UsageError):
            # The caller has left; grpc has ended the call already.
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
                extra=of_request(request_id),
            )
            await context.abort(code, status.message, status.trailing_metadata)
        finally:
            self._metrics.ended(method, code.name)
            span.end_call(code.name, text)

    async def _answer(self, answer: RequestState) -> AsyncGenerator[encoder_pb2.GenerateResponse]:
        conversation = read_conversation(answer.request.messages)
        # Checked before any work is done; the decoder reads it again.
        read_sampling(answer.request.sampling)
        compression = self._compression(answer.request.compression)
        deadline, policy = answer.deadline, answer.request.degradation
        if answer.waited and policy == encoder_pb2.DEGRADATION_COMPRESS_MORE:
            compression = self._profiles.get("max")
            answer.degradations.append("compressed_more")
        await self._decoder.check(deadline)
        media = media_in(conversation)
        strict = policy == encoder_pb2.DEGRADATION_FAIL
        with answer.span.part("encode") as span:
            encoded = await self._plane.encode(
                media, compression.oim, deadline, answer.tenant, strict=strict
            )
            tell(span, encoded)
        if encoded.trouble:
            answer.degradations.append("store_failed")
        spu = compression.spu_for(tokens.detail for tokens in encoded.tokens)
        call = write_decoder_request(
            conversation,
            answer.request,
            spu,
            timeout=deadline.left,
            request_id=answer.request_id,
        )
        called, first, last = time.monotonic(), 0.0, 0.0
        way = self._way(answer, spu)
        async with aclosing(self._decoded(answer, call, encoded, way)) as pieces:
            async for piece in pieces:
                if not piece.text and not piece.HasField("usage"):
                    continue
                now = time.monotonic()
                first = first or now
                if last and piece.text:
                    self._metrics.gap(now - last)
                last = now
                response = encoder_pb2.GenerateResponse(
                    text=piece.text, finish_reason=piece.finish_reason
                )
                if piece.HasField("usage"):
                    answer.called, answer.first = called, first
                    usage = usage_of(answer, piece.usage, encoded, compression)
                    response.usage.CopyFrom(usage)
                    self._metrics.answered(usage, len(media))
                yield response

    def _way(self, answer: RequestState, spu: SpuSettings | None) -> TransferOptions:
        """How tokens travel: as the request wants it, where the decoder takes them so."""
        int8, decoder = tokens_pb2.TOKEN_CODEC_INT8, self._decoder
        in_int8 = answer.request.token_codec == int8 and int8 in decoder.codecs
        return TransferOptions(decoder.sources, in_int8, decoder.takes_sparse, spu)

    async def _decoded(
        self,
        answer: RequestState,
        call: decoder_pb2.DecoderServiceGenerateRequest,
        encoded: Encoded,
        way: TransferOptions,
    ) -> AsyncGenerator[decoder_pb2.DecoderServiceGenerateResponse]:
        """The decoder's answer. Tokens that it could not fetch are sent along, once."""
        deadline = answer.deadline
        with ExitStack() as held:
            load = await self._carrier.load(encoded.entries, way, deadline, held)
            answer.fetched_count = load.reference_count
            answer.wire_bytes = load.byte_count
            call.vision_tokens.extend(load.messages)
            try:
                async with aclosing(self._decoder.generate(call, deadline, answer.span)) as pieces:
                    async for piece in pieces:
                        # It has them, then.
                        held.close()
                        yield piece
                return
            except Refused as refusal:
                lost = load.reference_count and refusal.status.details.reason == TOKENS_LOST
                if not lost or answer.request.degradation == encoder_pb2.DEGRADATION_FAIL:
                    raise
                log.warning(
                    "request %s: %s",
                    answer.request_id,
                    refusal,
                    extra=of_request(answer.request_id),
                )
        answer.fetched_count = 0
        answer.degradations.append("sent_along")
        del call.vision_tokens[:]
        load = await self._carrier.inline(encoded.entries, deadline, way)
        call.vision_tokens.extend(load.messages)
        call.timeout.CopyFrom(duration_of(deadline.left))
        async with aclosing(self._decoder.generate(call, deadline, answer.span)) as pieces:
            async for piece in pieces:
                yield piece
