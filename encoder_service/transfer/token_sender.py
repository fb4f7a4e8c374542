"""Visual tokens as messages to the decoder: inline when small, by reference when large."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from luvc.v1 import encoder_pb2, tokens_pb2

from encoder_service.config import EncoderConfig
from encoder_service.encoding.executor import EncodingExecutor
from encoder_service.transfer.blob_handles import HeldBlobs
from luvc_core.compression.prune_before_llm import prune_before_llm
from luvc_core.compression.settings import SpuSettings
from luvc_core.errors import TokensExpired
from luvc_core.runtime.async_tasks import gather_or_cancel
from luvc_core.runtime.deadline import Deadline
from luvc_core.store import is_shared
from luvc_core.store.cache import CacheEntry
from luvc_core.visual_tokens.blob import checksum_of, to_blob
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from luvc_core.wire.selection import write_selection
from luvc_core.wire.vision_tokens import write_vision_tokens

# Small enough that neither side's event loop is held up by handing out or fetching one.
CHUNK_BYTES = 1 << 20
# A float32 for each token.
SCALE_BYTES = 4


@dataclass(frozen=True)
class TokenPayload:
    """The visual tokens of one request as messages.

    Attributes:
        messages: one for each image and video, with the tokens or a reference to them.
        byte_count: of all embeddings as they travel, with their scales.
    """

    messages: Sequence[tokens_pb2.VisionTokens]
    byte_count: int

    @property
    def reference_count(self) -> int:
        """How many of them the decoder fetches by itself."""
        return sum(message.HasField("reference") for message in self.messages)


@dataclass(frozen=True)
class TransferOptions:
    """The forms in which tokens may travel: as the request wants, where the decoder takes it.

    Attributes:
        sources: TokenSource values that the decoder fetches from.
        in_int8: whether embeddings travel in eight bits a number.
        sparse: whether what the LLM does not need is left out, such as the tokens that `spu`
            drops before its first layer.
        spu: pruning in the LLM.
    """

    sources: Sequence[int] = ()
    in_int8: bool = False
    sparse: bool = False
    spu: SpuSettings | None = None


class TokenSender:
    """Sends each image's or video's tokens inline or by reference, by size and TransferOptions.

    Attributes:
        endpoint: where decoders reach this encoder. Nothing is held for them while it is empty.
        held_blobs: blobs that decoders may fetch from here.
    """

    endpoint: str = ""

    def __init__(self, executor: EncodingExecutor, config: EncoderConfig) -> None:
        self.held_blobs = HeldBlobs(config.promise_bytes)
        self._executor = executor
        self._inline_bytes = config.inline_bytes
        self._has_shared_store = is_shared(config.store)

    async def inline_payload(
        self,
        entries: Sequence[CacheEntry],
        deadline: Deadline,
        options: TransferOptions = TransferOptions(),
    ) -> TokenPayload:
        """Build messages that hold all tokens themselves.

        Args:
            entries: the tokens, in reading order.
            deadline: when the messages have to be built.
            options: their form; `sources` are not used.
        """
        pruned = await gather_or_cancel(self._pruned(entry, options, deadline) for entry in entries)
        messages = await gather_or_cancel(
            self._inline(tokens, options, deadline) for tokens in pruned
        )
        byte_count = sum(_byte_count(tokens, options.in_int8) for tokens in pruned)
        return TokenPayload(messages, byte_count)

    async def prepare_payload(
        self,
        entries: Sequence[CacheEntry],
        options: TransferOptions,
        deadline: Deadline,
        holds: ExitStack,
    ) -> TokenPayload:
        """Build messages that hold small tokens, and refer to large ones.

        Args:
            entries: the tokens, in reading order.
            options: the form of the tokens, and where the decoder can fetch from.
            deadline: when the messages have to be built.
            holds: keeps what the decoder fetches from here until it closes.
        """

        async def prepare(entry: CacheEntry) -> tuple[tokens_pb2.VisionTokens, int]:
            tokens, message = await self._pruned(entry, options, deadline), None
            byte_count = _byte_count(tokens, options.in_int8)
            if byte_count > self._inline_bytes:
                message = await self._reference(entry, tokens, options, deadline, holds)
                if message and message.reference.source == tokens_pb2.TOKEN_SOURCE_STORE:
                    byte_count = _byte_count(entry.tokens, options.in_int8)
            return message or await self._inline(tokens, options, deadline), byte_count

        prepared = await gather_or_cancel(prepare(entry) for entry in entries)
        messages = [message for message, _ in prepared]
        return TokenPayload(messages, sum(byte_count for _, byte_count in prepared))

    def chunks(self, handle: str) -> Iterator[encoder_pb2.FetchTokensResponse]:
        """Hand out the blob held under a handle. Raises TokensExpired once it is held no longer."""
        blob = self.held_blobs.get(handle)
        if blob is None:
            raise TokensExpired("nothing is promised under this handle, or no longer")
        view = memoryview(blob)
        for start in range(0, len(blob), CHUNK_BYTES):
            chunk = bytes(view[start : start + CHUNK_BYTES])
            yield encoder_pb2.FetchTokensResponse(data=chunk)

    async def _pruned(
        self, entry: CacheEntry, options: TransferOptions, deadline: Deadline
    ) -> VisionTokens:
        spu = options.spu if options.sparse else None
        return await deadline.wait_for(self._executor.offload(prune_before_llm, entry.tokens, spu))

    async def _inline(
        self, tokens: VisionTokens, options: TransferOptions, deadline: Deadline
    ) -> tokens_pb2.VisionTokens:
        # Copying and hashing megabytes would hold up the event loop.
        return await deadline.wait_for(
            self._executor.offload(write_vision_tokens, tokens, options.in_int8, options.sparse)
        )

    async def _reference(
        self,
        entry: CacheEntry,
        tokens: VisionTokens,
        options: TransferOptions,
        deadline: Deadline,
        holds: ExitStack,
    ) -> tokens_pb2.VisionTokens | None:
        """Refer to the blob in the shared store, or hold one here; None where neither can be."""
        # The store keeps what any request can use: all tokens, in full precision.
        in_store = self._has_shared_store and entry.kept and not options.in_int8
        in_store = in_store and tokens_pb2.TOKEN_SOURCE_STORE in options.sources
        from_here = self.endpoint and tokens_pb2.TOKEN_SOURCE_ENCODER in options.sources
        if not in_store and not from_here:
            return None
        # A blob in another form than the store's has another key.
        changes = {
            "int8": options.in_int8,
            "thinned": tokens.selection is not None and not in_store,
        }
        key = ":".join((entry.key, *(name for name, done in changes.items() if done)))
        blob = entry.blob if key == entry.key else None
        if blob is None:
            content = entry.tokens if in_store else tokens
            blob = await deadline.wait_for(
                self._executor.offload(to_blob, content, key, options.in_int8)
            )
        reference = tokens_pb2.TokenReference(
            key=key, byte_count=len(blob), checksum_sha256=bytes.fromhex(checksum_of(blob))
        )
        if in_store:
            reference.source = tokens_pb2.TOKEN_SOURCE_STORE
        elif self.held_blobs.fits(len(blob)):
            reference.source = tokens_pb2.TOKEN_SOURCE_ENCODER
            reference.endpoint = self.endpoint
            reference.handle = holds.enter_context(self.held_blobs.hold(blob))
        else:
            return None
        message = tokens_pb2.VisionTokens(reference=reference)
        if in_store:
            message.MergeFrom(write_selection(tokens.selection))
        return message


def _byte_count(tokens: VisionTokens, in_int8: bool) -> int:
    """Return the bytes of the embeddings, which are nearly all that travels."""
    if not in_int8:
        return tokens.byte_count
    return tokens.selected_count * (tokens.embeddings.shape[1] + SCALE_BYTES)
