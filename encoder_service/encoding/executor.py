"""Media to visual tokens off the event loop: decoding on a few threads, the tower on one."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

import torch

from encoder_service.config import EncoderConfig
from encoder_service.encoding.tower_batcher import TowerBatcher
from luvc_core.compression.settings import OimSettings
from luvc_core.media.decode_video import Kind
from luvc_core.media.media_file import MediaFile
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import Patches
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.cpu_threads import compute_on
from luvc_core.runtime.deadline import Deadline
from luvc_core.visual_tokens.vision_tokens import VisionTokens

T = TypeVar("T")
_GPU_BATCH = 8


@dataclass(frozen=True)
class EncodingTimes:
    """Seconds in each stage of encoding, one after the other."""

    media: float = 0.0
    queue: float = 0.0
    encode: float = 0.0

    @property
    def total(self) -> float:
        return self.media + self.queue + self.encode


class EncodingExecutor:
    """Runs an Encoder. Queued work of a request that ends early is never started."""

    def __init__(self, encoder: MediaEncoder, config: EncoderConfig) -> None:
        self.encoder = encoder
        self._media = ThreadPoolExecutor(config.media_threads, "media", compute_on, (1,))
        # Matrices of one picture keep a CPU busy, so that a batch would gain nothing there; and in
        # float32 it would change last bits, as products of other sizes are summed in another order.
        usual = 1 if encoder.vision.device.type == "cpu" else _GPU_BATCH
        cores = config.torch_threads or torch.get_num_threads()

        def encode(patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
            compute_on(cores)
            return encoder.encode(patches, oim)

        self._tower = TowerBatcher(encode, config.max_batch or usual)
        self._video_slots = AdmissionLimiter(config.max_active_videos, config.max_waiting)
        self._video_timeout = config.video_timeout
        # Of pictures and clips in the tower or waiting for it, as its family resized them.
        self.pixels = 0

    async def encode(
        self, file: MediaFile, kind: Kind, alone: bool, oim: OimSettings, deadline: Deadline
    ) -> tuple[VisionTokens, EncodingTimes]:
        """One picture or clip. alone: the only picture of its conversation. Raises InvalidMedia."""
        async with AsyncExitStack() as held:
            if kind == "video":
                # The frames of a clip take as much memory as a hundred pictures.
                await held.enter_async_context(self._video_slots.take(deadline))
            start = time.monotonic()
            patches = await self._prepare(file, alone, deadline)
            prepared = time.monotonic()

            pixels = patches.pixels.numel() // 3
            self.pixels += pixels
            try:
                done = await deadline.wait_for(self._tower.encode(patches, oim))
            finally:
                self.pixels -= pixels
            queued, took = done.began - prepared, done.ended - done.began
            return done.tokens, EncodingTimes(prepared - start, queued, took)

    async def _prepare(self, file: MediaFile, alone: bool, deadline: Deadline) -> Patches:
        given_up = threading.Event()

        def prepare() -> Patches:
            limit = deadline.within(self._video_timeout, f"decoding {file.field}")

            def check() -> None:
                limit.check()
                if given_up.is_set():
                    raise _GivenUp

            return self.encoder.prepare(file.data, file.field, alone, check)

        try:
            return await deadline.wait_for(self.aside(prepare))
        finally:
            # A clip that is being decoded for nobody ends at its next frame.
            given_up.set()

    def aside(self, work: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        """Run what copies or digests megabytes on a thread, rather than on the event loop."""
        return asyncio.get_running_loop().run_in_executor(self._media, work, *arguments)

    def close(self) -> None:
        """Start nothing more."""
        self._media.shutdown(wait=False, cancel_futures=True)
        self._tower.close()


class _GivenUp(Exception):
    """Nobody waits for the clip any more."""
