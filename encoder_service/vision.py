"""Pictures to visual tokens off the event loop: media on a few threads, the tower on one."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from luvc.v1 import tokens_pb2

from encoder_service.codec import Picture, tokens_to
from encoder_service.config import EncoderConfig
from luvc_core.config import OimSettings
from luvc_core.deadline import Deadline
from luvc_core.encode import Encoder
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

    async def encode(
        self, pictures: Sequence[Picture], oim: OimSettings, deadline: Deadline
    ) -> Encoded:
        """All pictures of one conversation. Raises InvalidMedia naming one that cannot be used."""
        self._encoder.limits.check_count(len(pictures))
        start = time.monotonic()
        prepare, alone = self._encoder.prepare, len(pictures) == 1
        patches = await deadline.wait_for(
            _all(self._run(self._media, prepare, p.data, p.field, alone) for p in pictures)
        )
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

    def close(self) -> None:
        """Start nothing more."""
        self._media.shutdown(wait=False, cancel_futures=True)
        self._tower.shutdown(wait=False, cancel_futures=True)

    def _run(
        self, pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: object
    ) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(pool, work, *arguments)


async def _all(work: "Iterable[asyncio.Future[T]]") -> list[T]:
    futures = list(work)
    try:
        return await asyncio.gather(*futures)
    finally:
        for future in futures:
            future.cancel()
