"""Fetches visual tokens that a request only refers to, and checks them.

They come from a store or an encoder straight to the replica, past Ray's proxy.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from fnmatch import fnmatchcase

import grpc
from luvc.access import Tls
from luvc.v1 import encoder_pb2, encoder_pb2_grpc, tokens_pb2
from luvc.wire.traces import Span

from decoder_service.config import DecoderConfig
from luvc_core.errors import InvalidInput, TokensLost
from luvc_core.runtime.async_tasks import gather_or_cancel
from luvc_core.runtime.deadline import Deadline
from luvc_core.runtime.offload import run_on
from luvc_core.store import open_store
from luvc_core.store.base import StoreFailed
from luvc_core.visual_tokens.blob import BadValue, checksum_of, from_blob
from luvc_core.visual_tokens.identity import Identity, check_identity
from luvc_core.visual_tokens.vision_tokens import VisionTokens

Fetched = dict[int, VisionTokens]
_MAX_CHANNELS = 64
_MAX_AT_ONCE = 8
_CHANNEL_OPTIONS = (
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_receive_message_length", 8 << 20),
)


class TokenFetcher:
    """Fetches visual tokens for one replica. Make it anywhere, use it on one event loop."""

    def __init__(self, config: DecoderConfig, served: Identity, threads: Executor) -> None:
        self._served = served
        self._threads = threads
        self._hosts = tuple(filter(None, config.fetch_hosts.split(",")))
        self._max_bytes = config.max_fetch_bytes
        self._timeout = config.fetch_timeout
        self._credentials = _credentials(config)
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._store = open_store(
            config.store, max_bytes=0, max_item_bytes=config.max_fetch_bytes,
            ttl=1.0, timeout=config.fetch_timeout,
        )  # fmt: skip
        # Bounds memory: each fetch may take as much as `max_fetch_bytes`.
        self._turns = asyncio.Semaphore(_MAX_AT_ONCE)

    @property
    def sources(self) -> Sequence[tokens_pb2.TokenSource]:
        """The kinds of sources that this replica can fetch from."""
        sources = [tokens_pb2.TOKEN_SOURCE_ENCODER] if self._hosts else []
        return sources + ([tokens_pb2.TOKEN_SOURCE_STORE] if self._store else [])

    async def fetch(
        self, messages: Sequence[tokens_pb2.VisionTokens], deadline: Deadline, span: Span
    ) -> Fetched:
        """Fetch the tokens that a request refers to.

        Args:
            messages: all visual tokens of the request; those that are no reference are left alone.
            deadline: when all have to be here.
            span: the trace of the request.

        Returns:
            The fetched tokens by their index in `messages`.

        Raises:
            TokensLost: where tokens are gone, damaged or out of reach; the sender may then send
                them inline.
            InvalidInput: for a reference that is never followed.
            IdentityMismatch: for tokens of another model.
        """
        indices = [i for i, message in enumerate(messages) if message.HasField("reference")]
        fetched = await gather_or_cancel(
            self._in_turn(messages[i].reference, f"vision_tokens[{i}].reference", deadline, span)
            for i in indices
        )
        return dict(zip(indices, fetched, strict=True))

    async def _in_turn(
        self, reference: tokens_pb2.TokenReference, field: str, deadline: Deadline, span: Span
    ) -> VisionTokens:
        limit = deadline.within(self._timeout, "fetching visual tokens")
        await limit.wait_for(self._turns.acquire())
        try:
            with span.part("fetch") as part:
                part.set_attributes(luvc__bytes=reference.byte_count)
                return await self._fetch(reference, field, limit, part)
        finally:
            self._turns.release()

    async def _fetch(
        self, reference: tokens_pb2.TokenReference, field: str, deadline: Deadline, span: Span
    ) -> VisionTokens:
        if not 0 < reference.byte_count <= self._max_bytes:
            got = f"got {reference.byte_count}"
            raise InvalidInput(f"{field}.byte_count", got, f"1 to {self._max_bytes}")
        if reference.source == tokens_pb2.TOKEN_SOURCE_STORE and self._store:
            blob = await self._from_store(reference.key, deadline)
        elif reference.source == tokens_pb2.TOKEN_SOURCE_ENCODER and self._hosts:
            blob = await self._from_encoder(reference, field, deadline, span)
        else:
            names = ", ".join(map(tokens_pb2.TokenSource.Name, self.sources)) or "none"
            raise InvalidInput(f"{field}.source", f"got {reference.source}", names)
        tokens = await deadline.wait_for(run_on(self._threads, _read_blob, blob, reference))
        check_identity(tokens.identity, self._served)
        return tokens

    async def _from_store(self, key: str, deadline: Deadline) -> bytes:
        assert self._store
        try:
            blob = await deadline.wait_for(self._store.get(key))
        except StoreFailed as error:
            raise TokensLost(f"visual tokens cannot be fetched: {error}") from None
        if blob is None:
            raise TokensLost("the store has no such visual tokens any more")
        return blob

    async def _from_encoder(
        self, reference: tokens_pb2.TokenReference, field: str, deadline: Deadline, span: Span
    ) -> bytes:
        stub = encoder_pb2_grpc.EncoderServiceStub(self._channel(reference.endpoint, field))
        request = encoder_pb2.FetchTokensRequest(handle=reference.handle)
        call = stub.FetchTokens(request, timeout=deadline.seconds_left, metadata=span.metadata)
        chunks, byte_count = [], 0
        try:
            while (response := await deadline.wait_for(call.read())) is not grpc.aio.EOF:
                data = response.data
                byte_count += len(data)
                if byte_count > reference.byte_count:
                    break
                chunks.append(data)
        except grpc.aio.AioRpcError as error:
            raise TokensLost(
                f"visual tokens cannot be fetched from {reference.endpoint}: {error.code().name}"
            ) from None
        finally:
            call.cancel()
        if byte_count != reference.byte_count:
            raise TokensLost(
                f"{reference.endpoint} sent {byte_count} bytes of {reference.byte_count}"
            )
        return b"".join(chunks)

    def _channel(self, endpoint: str, field: str) -> grpc.aio.Channel:
        """Return the channel to an encoder on a host that is allowed.

        A request must not make a replica call any address that it likes.
        """
        host = endpoint.rpartition(":")[0]
        if not any(fnmatchcase(host, pattern) for pattern in self._hosts):
            raise InvalidInput(f"{field}.endpoint", f"got {endpoint!r}", ", ".join(self._hosts))
        if endpoint not in self._channels:
            if len(self._channels) >= _MAX_CHANNELS:
                self._channels.pop(next(iter(self._channels)))
            if self._credentials is None:
                channel = grpc.aio.insecure_channel(endpoint, _CHANNEL_OPTIONS)
            else:
                channel = grpc.aio.secure_channel(endpoint, self._credentials, _CHANNEL_OPTIONS)
            self._channels[endpoint] = channel
        return self._channels[endpoint]


def _credentials(config: DecoderConfig) -> grpc.ChannelCredentials | None:
    """Read the TLS files; return None without TLS. Raises OSError."""
    if not config.fetch_ca:
        return None
    return Tls(config.fetch_ca, config.fetch_cert, config.fetch_key).credentials()


def _read_blob(blob: bytes, reference: tokens_pb2.TokenReference) -> VisionTokens:
    """Read the tokens out of a blob; raise TokensLost where it is not what was referred to."""
    try:
        if bytes.fromhex(checksum_of(blob)) != reference.checksum_sha256:
            raise BadValue("another checksum than the reference's")
        return from_blob(blob, reference.key)
    except BadValue as error:
        raise TokensLost(f"visual tokens arrived harmed: {error}") from None
