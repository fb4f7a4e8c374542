"""Calls of the decoder: one endpoint, a checked identity, a deadline on every call."""

import logging
from collections.abc import AsyncGenerator, Sequence

import grpc
from luvc.v1 import decoder_pb2, decoder_pb2_grpc
from luvc.wire.status import Status, from_metadata
from luvc.wire.traces import Span

from encoder_service.errors import DecoderRefused
from encoder_service.transfer.rotating_channel import RotatingChannel
from luvc_core.errors import DeadlineExceeded, Overloaded, ServiceError, Unavailable
from luvc_core.runtime.deadline import Deadline
from luvc_core.visual_tokens.identity import Identity, check_identity
from luvc_core.wire.identity import read_identity

log = logging.getLogger(__name__)

# With gRPC's default backoff, calls would fail for up to two minutes after an outage.
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_send_message_length", -1),
)
# Added to the channel's deadline, so that our own ends a call first, with its typed error.
_GRACE_SECONDS = 1.0


class DecoderClient:
    """Calls one decoder endpoint. Make it on the event loop that uses it.

    Its methods raise Unavailable when the decoder cannot be reached within `connect_timeout`
    seconds, IdentityMismatch when it serves another model than `identity`, and DecoderRefused with
    the decoder's own status.

    Attributes:
        sources: TokenSource values that the decoder fetches from, once checked.
        codecs: TokenCodec values that it takes, once checked.
        takes_sparse: whether it takes tokens without what the LLM does not need, once checked.
    """

    def __init__(
        self, endpoint: str, identity: Identity, connect_timeout: float, connection_age: float
    ) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._connect_timeout = connect_timeout
        self._channel = RotatingChannel(endpoint, _CHANNEL_OPTIONS, connection_age)
        # Generation of the channel on which both halves last agreed; 0 where they did not.
        self._agreed_generation = 0
        self.sources: Sequence[int] = ()
        self.codecs: Sequence[int] = ()
        self.takes_sparse = False

    async def check_compatible(self, deadline: Deadline) -> None:
        """Check that the decoder serves the language half of this encoder's checkpoint.

        Asks the decoder once for each connection, and again after a failure.
        """
        if self._agreed_generation == self._channel.generation:
            return
        timeout = min(self._connect_timeout, deadline.seconds_left * 0.9)
        try:
            async with self._channel.use() as channel:
                stub = decoder_pb2_grpc.DecoderServiceStub(channel)
                asked_generation = self._channel.generation
                info = await stub.GetModelInfo(decoder_pb2.GetModelInfoRequest(), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise self._unreachable(f"no answer within {timeout:.3g} s") from None
            raise self._translate(error, deadline) from None
        check_identity(self._identity, read_identity(info.identity))
        self.sources = tuple(info.token_sources)
        self.codecs = tuple(info.token_codecs)
        self.takes_sparse = info.takes_sparse_tokens
        self._agreed_generation = asked_generation

    async def generate(
        self, request: decoder_pb2.DecoderServiceGenerateRequest, deadline: Deadline, parent: Span
    ) -> AsyncGenerator[decoder_pb2.DecoderServiceGenerateResponse]:
        """Stream the decoder's answer. Closing the stream early cancels the call.

        Args:
            request: what to send, visual tokens included.
            deadline: when the answer has to be complete.
            parent: the span that the call belongs to.
        """
        span, code = parent.child("luvc.v1.DecoderService/Generate", "client"), "CANCELLED"
        async with self._channel.use() as channel:
            call = decoder_pb2_grpc.DecoderServiceStub(channel).Generate(
                request, timeout=deadline.seconds_left + _GRACE_SECONDS, metadata=span.metadata
            )
            try:
                while (response := await deadline.wait_for(call.read())) is not grpc.aio.EOF:
                    yield response
                code = "OK"
            except grpc.aio.AioRpcError as error:
                self._agreed_generation, code = 0, error.code().name
                raise self._translate(error, deadline) from None
            finally:
                call.cancel()
                span.end_call(code)

    async def close(self) -> None:
        """Close the connection, and end the calls that are left."""
        await self._channel.close()

    def _translate(self, error: grpc.aio.AioRpcError, deadline: Deadline) -> Exception:
        code, text = error.code(), error.details() or ""
        details = from_metadata(error.trailing_metadata())
        if details is not None:
            return DecoderRefused(Status(code, text, details))
        # The text is Ray's or gRPC's and may hold anything, so it is logged and not passed on.
        log.warning("the decoder at %s failed: %s: %s", self._endpoint, code.name, text)
        by_code: dict[grpc.StatusCode, ServiceError] = {
            grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded(
                f"the {deadline.allowed:.3g} s allowed for this request are over"
            ),
            grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded("the decoder is full; try again later"),
        }
        return by_code.get(code) or self._unreachable(code.name.lower().replace("_", " "))

    def _unreachable(self, why: str) -> Unavailable:
        return Unavailable(f"the decoder at {self._endpoint} cannot be reached: {why}")
