"""How visual tokens travel to the decoder: inline when small, by reference when large."""

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
from luvc_core.store.cache import Entry
from luvc_core.visual_tokens.blob import checksum_of, to_blob
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from luvc_core.wire.selection import write_selection
from luvc_core.wire.vision_tokens import write_vision_tokens

# Handed out and fetched in pieces that neither side's event loop notices.
CHUNK_BYTES = 1 << 20
# A float32 for each token.
SCALE_BYTES = 4


@dataclass(frozen=True)
class TokenPayload:
    """The tokens of one request on their way, one message a picture or clip.

    byte_count: of all embeddings as they travel, with their scales.
    """

    messages: Sequence[tokens_pb2.VisionTokens]
    byte_count: int

    @property
    def reference_count(self) -> int:
        """How many the decoder fetches by itself."""
        return sum(message.HasField("reference") for message in self.messages)


@dataclass(frozen=True)
class TransferOptions:
    """What the decoder can do, and the request wants. sources: TokenSource values that it fetches
    from. in_int8: eight bits a number. sparse: without what the LLM does not need, such as the
    tokens that `spu` drops before its first layer."""

    sources: Sequence[int] = ()
    in_int8: bool = False
    sparse: bool = False
    spu: SpuSettings | None = None


class TokenSender:
    """Chooses the way of each picture or clip, by its size and by what the decoder can fetch."""

    # Where decoders reach this encoder; nothing is promised to them before it is known.
    endpoint: str = ""

    def __init__(self, vision: EncodingExecutor, config: EncoderConfig) -> None:
        self.promises = HeldBlobs(config.promise_bytes)
        self._vision = vision
        self._inline_bytes = config.inline_bytes
        self._shared = is_shared(config.store)

    async def inline(
        self, entries: Sequence[Entry], deadline: Deadline, way: TransferOptions = TransferOptions()
    ) -> TokenPayload:
        """All within the request itself."""
        tokens = await gather_or_cancel(self._thinned(entry, way, deadline) for entry in entries)
        messages = await gather_or_cancel(self._inline(own, way, deadline) for own in tokens)
        return TokenPayload(messages, sum(_byte_count(own, way.in_int8) for own in tokens))

    async def load(
        self, entries: Sequence[Entry], way: TransferOptions, deadline: Deadline, held: ExitStack
    ) -> TokenPayload:
        """The shortest way for each. What the decoder is promised is kept until `held` closes."""

        async def send(entry: Entry) -> tuple[tokens_pb2.VisionTokens, int]:
            tokens, message = await self._thinned(entry, way, deadline), None
            size = _byte_count(tokens, way.in_int8)
            if size > self._inline_bytes:
                message = await self._reference(entry, tokens, way, deadline, held)
                if message and message.reference.source == tokens_pb2.TOKEN_SOURCE_STORE:
                    size = _byte_count(entry.tokens, way.in_int8)
            return message or await self._inline(tokens, way, deadline), size

        sent = await gather_or_cancel(send(entry) for entry in entries)
        return TokenPayload([message for message, _ in sent], sum(size for _, size in sent))

    def pieces(self, handle: str) -> Iterator[encoder_pb2.FetchTokensResponse]:
        """What was promised under a handle. Raises TokensExpired once the promise is over."""
        blob = self.promises.get(handle)
        if blob is None:
            raise TokensExpired("nothing is promised under this handle, or no longer")
        view = memoryview(blob)
        for start in range(0, len(blob), CHUNK_BYTES):
            piece = bytes(view[start : start + CHUNK_BYTES])
            yield encoder_pb2.FetchTokensResponse(data=piece)

    async def _thinned(
        self, entry: Entry, way: TransferOptions, deadline: Deadline
    ) -> VisionTokens:
        spu = way.spu if way.sparse else None
        return await deadline.wait_for(self._vision.aside(prune_before_llm, entry.tokens, spu))

    async def _inline(
        self, tokens: VisionTokens, way: TransferOptions, deadline: Deadline
    ) -> tokens_pb2.VisionTokens:
        # Copies and digests of megabytes would hold up the event loop.
        return await deadline.wait_for(
            self._vision.aside(write_vision_tokens, tokens, way.in_int8, way.sparse)
        )

    async def _reference(
        self,
        entry: Entry,
        tokens: VisionTokens,
        way: TransferOptions,
        deadline: Deadline,
        held: ExitStack,
    ) -> tokens_pb2.VisionTokens | None:
        # The store keeps what can be used in any way: all tokens, in full.
        in_store = self._shared and entry.kept and not way.in_int8
        in_store = in_store and tokens_pb2.TOKEN_SOURCE_STORE in way.sources
        from_here = self.endpoint and tokens_pb2.TOKEN_SOURCE_ENCODER in way.sources
        if not in_store and not from_here:
            return None
        changes = {"int8": way.in_int8, "thinned": tokens.selection is not None and not in_store}
        key = ":".join((entry.key, *(name for name, done in changes.items() if done)))
        blob = entry.blob if key == entry.key else None
        if blob is None:
            shown = entry.tokens if in_store else tokens
            blob = await deadline.wait_for(self._vision.aside(to_blob, shown, key, way.in_int8))
        reference = tokens_pb2.TokenReference(
            key=key, byte_count=len(blob), checksum_sha256=bytes.fromhex(checksum_of(blob))
        )
        if in_store:
            reference.source = tokens_pb2.TOKEN_SOURCE_STORE
        elif self.promises.fits(len(blob)):
            reference.source = tokens_pb2.TOKEN_SOURCE_ENCODER
            reference.endpoint = self.endpoint
            reference.handle = held.enter_context(self.promises.hold(blob))
        else:
            return None
        message = tokens_pb2.VisionTokens(reference=reference)
        if in_store:
            message.MergeFrom(write_selection(tokens.selection))
        return message


def _byte_count(tokens: VisionTokens, in_int8: bool) -> int:
    """Bytes of the embeddings, which are nearly all that travels."""
    if not in_int8:
        return tokens.byte_count
    return tokens.selected_count * (tokens.embeddings.shape[1] + SCALE_BYTES)
