"""Media to visual tokens by way of the store: encoded once, asked about often."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from encoder_service.config import EncoderConfig
from encoder_service.encoding.executor import EncodingExecutor, EncodingTimes
from luvc_core.compression.settings import OimSettings
from luvc_core.errors import InvalidMedia, TokensExpired
from luvc_core.media.decode_video import Kind, kind_of
from luvc_core.media.media_file import MediaFile
from luvc_core.runtime.async_tasks import gather_or_cancel
from luvc_core.runtime.deadline import Deadline
from luvc_core.store.base import Store
from luvc_core.store.cache import Counts, Entry, TokenCache
from luvc_core.store.keys import image_key, video_key
from luvc_core.visual_tokens.vision_tokens import VisionTokens


@dataclass(frozen=True)
class Encoded:
    """What became of the media of a conversation, in order. spans: of the one that was ready last,
    None where nothing was encoded."""

    entries: Sequence[Entry]
    spans: EncodingTimes | None

    @property
    def tokens(self) -> Sequence[VisionTokens]:
        return [entry.tokens for entry in self.entries]

    @property
    def reused_count(self) -> int:
        """How many were not encoded for this request."""
        return sum(entry.origin != "encoded" for entry in self.entries)

    @property
    def trouble(self) -> str:
        """Why the store was passed by, empty where it was not."""
        return next((entry.trouble for entry in self.entries if entry.trouble), "")

    @property
    def kept(self) -> bool:
        """Whether a later request may name all of them by digest."""
        return bool(self.entries) and all(entry.kept for entry in self.entries)


@dataclass(frozen=True)
class _Ask:
    """For whom, and how, media are encoded."""

    oim: OimSettings
    tenant: str
    strict: bool


@dataclass(frozen=True)
class _Seen:
    """A medium at first sight. kind: None where only a digest came and it is no clip we keep."""

    file: MediaFile
    sha256: str
    kind: Kind | None
    entry: Entry | None = None


class EncodingPipeline:
    """Visual tokens of media: from the store, from another request's work, or from the tower."""

    def __init__(
        self, vision: EncodingExecutor, store: Store | None, config: EncoderConfig
    ) -> None:
        self._vision = vision
        self._encoder = vision.encoder
        self._work_seconds = config.timeout
        self._cache = TokenCache(
            store, self._encoder.identity, self._encoder.vision.dtype, vision.aside
        )

    @property
    def counts(self) -> Counts:
        """What the cache did so far."""
        return self._cache.counts

    async def encode(
        self,
        media: Sequence[MediaFile],
        oim: OimSettings,
        deadline: Deadline,
        tenant: str = "",
        *,
        strict: bool = False,
    ) -> Encoded:
        """All media of one conversation. strict: a store that fails is Unavailable.

        Raises InvalidMedia naming one that cannot be used, TokensExpired for a digest of media that
        would have to be sent again.
        """
        if not media:
            return Encoded((), None)
        ask = _Ask(oim, tenant, strict)
        seen = await deadline.wait_for(gather_or_cancel(self._see(file, ask) for file in media))
        video_count = sum(s.kind == "video" for s in seen)
        self._encoder.limits.check_count(len(media), video_count)
        alone = len(media) - video_count == 1
        spans: list[EncodingTimes] = []
        entries = await deadline.wait_for(
            gather_or_cancel(self._entry(s, alone, ask, spans) for s in seen)
        )
        return Encoded(entries, max(spans, key=lambda s: s.total, default=None))

    async def _see(self, file: MediaFile, ask: "_Ask") -> _Seen:
        if file.data or not file.digest:
            sha256, kind = await self._vision.aside(_look_at, file)
            return _Seen(file, sha256, kind)
        sha256 = file.digest.hex()
        key = video_key(self._encoder.recipe, sha256, ask.oim.sha256, ask.tenant)
        entry = await self._cache.find(key, ask.strict)
        return _Seen(file, sha256, "video" if entry else None, entry)

    async def _entry(
        self, seen: _Seen, alone: bool, ask: "_Ask", spans: list[EncodingTimes]
    ) -> Entry:
        if seen.entry:
            return seen.entry
        recipe, file, merge = self._encoder.recipe, seen.file, ask.oim.sha256
        if seen.kind == "video":
            key = video_key(recipe, seen.sha256, merge, ask.tenant)
        else:
            larger = alone and self._encoder.vision.shows_alone_larger
            key = image_key(recipe, seen.sha256, merge, ask.tenant, larger)
        if seen.kind is None:
            if entry := await self._cache.find(key, ask.strict):
                return entry
            raise TokensExpired(
                f"{file.field}: the tokens of media {seen.sha256} are not kept; send its data"
            )
        kind = seen.kind

        async def make() -> VisionTokens:
            tokens, took = await self._vision.encode(file, kind, alone, ask.oim, work_deadline)
            spans.append(took)
            return tokens

        # Others may join, so that the work must not end with this request's own deadline.
        work_deadline = Deadline.after(self._work_seconds)
        try:
            return await self._cache.get(key, make, work_deadline, ask.strict)
        except InvalidMedia as error:
            # Another request's field, perhaps.
            raise InvalidMedia(file.field, error.problem, error.allowed) from None


def _look_at(file: MediaFile) -> tuple[str, Kind]:
    """Digest and kind. Raises InvalidMedia where the caller said another digest."""
    digest = hashlib.sha256(file.data)
    if file.digest and digest.digest() != file.digest:
        raise InvalidMedia(f"{file.field}.digest_sha256", "does not fit the data")
    return digest.hexdigest(), kind_of(file.data)
