"""Encoding on threads: images and videos become visual tokens off the event loop.

Decoding runs on a few threads, the vision tower on one.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, TypeVarTuple

import torch

from encoder_service.config import EncoderConfig
from encoder_service.encoding.tower_batcher import TowerBatcher
from luvc_core.compression.settings import OimSettings
from luvc_core.media.decode_video import MediaKind
from luvc_core.media.media_file import MediaFile
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import Patches
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.cancellation import Cancellation
from luvc_core.runtime.cpu_threads import compute_on
from luvc_core.runtime.deadline import Deadline
from luvc_core.runtime.offload import run_on
from luvc_core.visual_tokens.vision_tokens import VisionTokens

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
_GPU_BATCH = 8


@dataclass(frozen=True)
class EncodingTimes:
    """Seconds in each stage of encoding, one after the other."""

    media: float = 0.0
    queue: float = 0.0
    encode: float = 0.0

    @property
    def total(self) -> float:
        """Seconds from the first stage to the end of the last."""
        return self.media + self.queue + self.encode


class EncodingExecutor:
    """Runs a MediaEncoder on threads. Queued work of a request that ends early never starts.

    Attributes:
        encoder: what is run.
        pixels: of images and videos in the tower or waiting for it, as its family resized them.
    """

    def __init__(self, encoder: MediaEncoder, config: EncoderConfig) -> None:
        self.encoder = encoder
        self._media_threads = ThreadPoolExecutor(config.media_threads, "media", compute_on, (1,))
        # The matrices of one image keep a CPU busy, so that a batch would gain nothing there. In
        # float32 it would even change last bits, as products of other sizes are summed in another
        # order.
        usual_batch = 1 if encoder.vision.device.type == "cpu" else _GPU_BATCH
        cores = config.torch_threads or torch.get_num_threads()

        def encode_batch(patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
            compute_on(cores)
            return encoder.encode(patches, oim)

        self._tower_batcher = TowerBatcher(encode_batch, config.max_batch or usual_batch)
        self._video_limiter = AdmissionLimiter(config.max_active_videos, config.max_waiting)
        self._video_timeout = config.video_timeout
        self.pixels = 0

    async def run(
        self, file: MediaFile, kind: MediaKind, alone: bool, oim: OimSettings, deadline: Deadline
    ) -> tuple[VisionTokens, EncodingTimes]:
        """Decode one image or video and run it through the vision tower.

        Args:
            file: its bytes, and the field of the request that errors name.
            kind: image or video; videos wait for a place among the few that are at work at once.
            alone: whether it is the only image of its conversation.
            oim: how its tokens are merged.
            deadline: when the work has to be done.

        Returns:
            Its visual tokens, and the seconds that each stage took.

        Raises:
            InvalidMedia: for a file that cannot be decoded or is over a limit.
            DeadlineExceeded: when the time is over.
            Overloaded: where too many videos wait already.
        """
        async with AsyncExitStack() as stack:
            if kind == "video":
                # The frames of a video take as much memory as a hundred images.
                await stack.enter_async_context(self._video_limiter.slot(deadline))
            start = time.monotonic()
            patches = await self._prepare(file, alone, deadline)
            prepared = time.monotonic()

            pixels = patches.pixels.numel() // 3
            self.pixels += pixels
            try:
                result = await deadline.wait_for(self._tower_batcher.submit(patches, oim))
            finally:
                self.pixels -= pixels
            queue_seconds = result.began - prepared
            encode_seconds = result.ended - result.began
            return result.tokens, EncodingTimes(prepared - start, queue_seconds, encode_seconds)

    async def _prepare(self, file: MediaFile, alone: bool, deadline: Deadline) -> Patches:
        # A video whose request has ended stops being decoded at its next frame.
        with Cancellation() as cancellation:

            def prepare() -> Patches:
                # Made on the thread: waiting for a thread does not count as decoding.
                limit = deadline.within(self._video_timeout, f"decoding {file.field}")
                check = partial(cancellation.check, limit)
                return self.encoder.prepare(file.data, file.field, alone, check)

            return await deadline.wait_for(self.offload(prepare))

    def offload(
        self, work: Callable[[*Arguments], T], *arguments: *Arguments
    ) -> "asyncio.Future[T]":
        """Run work that copies or hashes megabytes on a thread of those that decode."""
        return run_on(self._media_threads, work, *arguments)

    def close(self) -> None:
        """Start nothing more."""
        self._media_threads.shutdown(wait=False, cancel_futures=True)
        self._tower_batcher.close()
