"""Media to visual tokens off the event loop: decoding on a few threads, the tower on one."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from luvc.v1 import tokens_pb2

from encoder_service.codec import MediaFile, tokens_to
from encoder_service.config import EncoderConfig
from luvc_core.config import OimSettings
from luvc_core.deadline import Deadline
from luvc_core.encode import Encoder
from luvc_core.media.video import kind_of
from luvc_core.models.base import Patches
from luvc_core.slots import Slots
from luvc_core.tokens import VisionTokens

T = TypeVar("T")


@dataclass(frozen=True)
class Encoded:
    """Visual tokens in both forms, and seconds spent in each stage."""

    tokens: Sequence[VisionTokens]
    messages: Sequence[tokens_pb2.VisionTokens]
    media_seconds: float
    queue_seconds: float
    encode_seconds: float


class Vision:
    """Runs an Encoder. Queued work of a request that ends early is never started."""

    def __init__(self, encoder: Encoder, config: EncoderConfig) -> None:
        self._encoder = encoder
        self._media = ThreadPoolExecutor(config.media_threads, "media")
        self._tower = ThreadPoolExecutor(1, "tower")
        self._clip_slots = Slots(config.max_active_clips, config.max_waiting)
        self._clip_timeout = config.clip_timeout

    async def encode(
        self, media: Sequence[MediaFile], oim: OimSettings, deadline: Deadline
    ) -> Encoded:
        """All media of one conversation. Raises InvalidMedia naming one that cannot be used."""
        kinds = await deadline.wait_for(
            _all(self._run(self._media, kind_of, m.data) for m in media)
        )
        clip_count = kinds.count("clip")
        self._encoder.limits.check_count(len(media), clip_count)
        alone = kinds.count("picture") == 1
        if not clip_count:
            return await self._encode(media, alone, oim, deadline)
        # The frames of a clip take as much memory as a hundred pictures.
        async with self._clip_slots.take(deadline):
            return await self._encode(media, alone, oim, deadline)

    async def _encode(
        self, media: Sequence[MediaFile], alone: bool, oim: OimSettings, deadline: Deadline
    ) -> Encoded:
        start = time.monotonic()
        patches = await self._prepare(media, alone, deadline)
        prepared = time.monotonic()

        def tower() -> tuple[float, list[VisionTokens], float]:
            began = time.monotonic()
            return began, self._encoder.encode(patches, oim), time.monotonic()

        began, tokens, ended = await deadline.wait_for(self._run(self._tower, tower))
        # Copies and digests of megabytes would hold up the event loop.
        messages = await deadline.wait_for(
            _all(self._run(self._media, tokens_to, t) for t in tokens)
        )
        return Encoded(tokens, messages, prepared - start, began - prepared, ended - began)

    async def _prepare(
        self, media: Sequence[MediaFile], alone: bool, deadline: Deadline
    ) -> list[Patches]:
        given_up = threading.Event()

        def prepare(file: MediaFile) -> Patches:
            limit = deadline.within(self._clip_timeout, f"decoding {file.field}")

            def check() -> None:
                limit.check()
                if given_up.is_set():
                    raise _GivenUp

            return self._encoder.prepare(file.data, file.field, alone, check)

        try:
            return await deadline.wait_for(
                _all(self._run(self._media, prepare, file) for file in media)
            )
        finally:
            # A clip that is being decoded for nobody ends at its next frame.
            given_up.set()

    def close(self) -> None:
        """Start nothing more."""
        self._media.shutdown(wait=False, cancel_futures=True)
        self._tower.shutdown(wait=False, cancel_futures=True)

    def _run(
        self, pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: object
    ) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(pool, work, *arguments)


class _GivenUp(Exception):
    """Nobody waits for the clip any more."""


async def _all(work: "Iterable[asyncio.Future[T]]") -> list[T]:
    futures = list(work)
    try:
        return await asyncio.gather(*futures)
    finally:
        for future in futures:
            future.cancel()
