"""Get the visual tokens of the images and videos of a request: from the store, or encoded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from encoder_service.config import EncoderConfig
from encoder_service.encoding.executor import EncodingExecutor, EncodingTimes
from luvc_core.compression.settings import OimSettings
from luvc_core.errors import InvalidMedia, TokensExpired
from luvc_core.media.decode_video import MediaKind, media_kind_of
from luvc_core.media.media_file import MediaFile
from luvc_core.runtime.async_tasks import gather_or_cancel
from luvc_core.runtime.deadline import Deadline
from luvc_core.store.base import Store
from luvc_core.store.cache import CacheCounts, CacheEntry, TokenCache
from luvc_core.store.keys import image_key, video_key
from luvc_core.visual_tokens.vision_tokens import VisionTokens


@dataclass(frozen=True)
class EncodedMedia:
    """The images and videos of a conversation as visual tokens.

    Attributes:
        entries: one for each image and video, in reading order.
        times: stages of the one that was ready last; None where nothing was encoded.
    """

    entries: Sequence[CacheEntry]
    times: EncodingTimes | None

    @property
    def tokens(self) -> Sequence[VisionTokens]:
        """The visual tokens of each image and video."""
        return [entry.tokens for entry in self.entries]

    @property
    def reused_count(self) -> int:
        """How many images and videos were not encoded for this request."""
        return sum(entry.origin != "encoded" for entry in self.entries)

    @property
    def store_problem(self) -> str:
        """Why the store was not used; empty where it was."""
        return next((entry.store_problem for entry in self.entries if entry.store_problem), "")

    @property
    def kept(self) -> bool:
        """Whether a later request may name all of them by digest."""
        return bool(self.entries) and all(entry.kept for entry in self.entries)


@dataclass(frozen=True)
class _EncodingOptions:
    """Options of one request: how its media are encoded, and for which tenant."""

    oim: OimSettings
    tenant: str
    strict: bool


@dataclass(frozen=True)
class _IdentifiedMedia:
    """An image or video whose digest is known.

    Attributes:
        file: as it was sent.
        sha256: its digest, hex.
        kind: None where only a digest came, and the store has no video under it.
        entry: its tokens, where identifying it found them already.
    """

    file: MediaFile
    sha256: str
    kind: MediaKind | None
    entry: CacheEntry | None = None


class EncodingPipeline:
    """Finds visual tokens in the store or in another request's work, or has the tower make them."""

    def __init__(
        self, executor: EncodingExecutor, store: Store | None, config: EncoderConfig
    ) -> None:
        self._executor = executor
        self._encoder = executor.encoder
        self._work_seconds = config.timeout
        self._cache = TokenCache(
            store, self._encoder.identity, self._encoder.vision.dtype, executor.offload
        )

    @property
    def counts(self) -> CacheCounts:
        """Counts of the cache so far."""
        return self._cache.counts

    async def tokens_for(
        self,
        media: Sequence[MediaFile],
        oim: OimSettings,
        deadline: Deadline,
        tenant: str = "",
        *,
        strict: bool = False,
    ) -> EncodedMedia:
        """Get the visual tokens of all images and videos of one conversation.

        Args:
            media: files, or digests of files that were sent before, in reading order.
            oim: how tokens are merged.
            deadline: when the work has to be done.
            tenant: whose tokens may be reused.
            strict: whether a store that fails is an error; otherwise tokens are made without it.

        Returns:
            The tokens, in the same order.

        Raises:
            InvalidMedia: naming a file that cannot be used.
            TokensExpired: for a digest of media that would have to be sent again.
            Unavailable: where `strict`, for a store that fails.
        """
        if not media:
            return EncodedMedia((), None)
        options = _EncodingOptions(oim, tenant, strict)
        identified = await deadline.wait_for(
            gather_or_cancel(self._identify(file, options) for file in media)
        )
        video_count = sum(item.kind == "video" for item in identified)
        self._encoder.limits.check_count(len(media), video_count)
        alone = len(media) - video_count == 1
        times: list[EncodingTimes] = []
        entries = await deadline.wait_for(
            gather_or_cancel(self._entry(item, alone, options, times) for item in identified)
        )
        return EncodedMedia(entries, max(times, key=lambda took: took.total, default=None))

    async def _identify(self, file: MediaFile, options: _EncodingOptions) -> _IdentifiedMedia:
        if file.data or not file.digest:
            sha256, kind = await self._executor.offload(_digest_and_kind, file)
            return _IdentifiedMedia(file, sha256, kind)
        sha256 = file.digest.hex()
        key = video_key(self._encoder.recipe, sha256, options.oim.sha256, options.tenant)
        entry = await self._cache.find(key, options.strict)
        return _IdentifiedMedia(file, sha256, "video" if entry else None, entry)

    async def _entry(
        self,
        media: _IdentifiedMedia,
        alone: bool,
        options: _EncodingOptions,
        times: list[EncodingTimes],
    ) -> CacheEntry:
        """Get the tokens of one image or video; what was encoded for them is added to `times`."""
        if media.entry:
            return media.entry
        file, kind = media.file, media.kind
        key = self._key(media, alone, options)
        if kind is None:
            if entry := await self._cache.find(key, options.strict):
                return entry
            raise TokensExpired(
                f"{file.field}: the tokens of media {media.sha256} are not kept; send its data"
            )

        async def make() -> VisionTokens:
            tokens, took = await self._executor.run(file, kind, alone, options.oim, work_deadline)
            times.append(took)
            return tokens

        # Other requests may join this work, so that it must not end with this request's deadline.
        work_deadline = Deadline.after(self._work_seconds)
        try:
            return await self._cache.get(key, make, work_deadline, options.strict)
        except InvalidMedia as error:
            # The error may come from another request's work, and name a field of that request.
            raise InvalidMedia(file.field, error.problem, error.allowed) from None

    def _key(self, media: _IdentifiedMedia, alone: bool, options: _EncodingOptions) -> str:
        recipe, merge_sha256 = self._encoder.recipe, options.oim.sha256
        if media.kind == "video":
            return video_key(recipe, media.sha256, merge_sha256, options.tenant)
        shown_larger = alone and self._encoder.vision.shows_alone_larger
        return image_key(recipe, media.sha256, merge_sha256, options.tenant, shown_larger)


def _digest_and_kind(file: MediaFile) -> tuple[str, MediaKind]:
    """Return SHA-256 and kind of a file.

    Raises InvalidMedia where the caller gave another digest.
    """
    digest = hashlib.sha256(file.data)
    if file.digest and digest.digest() != file.digest:
        raise InvalidMedia(f"{file.field}.digest_sha256", "does not fit the data")
    return digest.hexdigest(), media_kind_of(file.data)
