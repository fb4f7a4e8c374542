"""Batches for the vision tower: images of one size go in together."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from luvc_core.compression.settings import OimSettings
from luvc_core.models.base import Patches
from luvc_core.runtime.offload import run_on
from luvc_core.visual_tokens.vision_tokens import VisionTokens

EncodeBatch = Callable[[Sequence[Patches], OimSettings], list[VisionTokens]]


@dataclass(frozen=True)
class TowerResult:
    """The tokens of one image or video.

    Attributes:
        tokens: what the tower made.
        began: when it began with the batch, in seconds on the monotonic clock.
        ended: when it had done the batch.
    """

    tokens: VisionTokens
    began: float
    ended: float


@dataclass(frozen=True, eq=False)
class _Job:
    patches: Patches
    oim: OimSettings
    done: "asyncio.Future[TowerResult]"

    def fits(self, other: "_Job") -> bool:
        """Return whether both may share a batch. A video is a batch of frames by itself."""
        ours, theirs = self.patches, other.patches
        same_size = ours.grid == theirs.grid and ours.pixels.shape == theirs.pixels.shape
        images = ours.video is None and theirs.video is None
        return same_size and images and self.oim == other.oim


class TowerBatcher:
    """Runs a vision tower on one thread, in batches. For one event loop.

    The batcher never waits to fill a batch. It takes the job that has waited longest, and with it
    those of the same size that arrived while the last batch ran. So a job waits no longer than it
    would without batches, except for the jobs that share its own batch. Whoever submits jobs
    bounds how many wait.
    """

    def __init__(self, encode_batch: EncodeBatch, max_batch: int) -> None:
        self._encode_batch = encode_batch
        self._max_batch = max_batch
        self._thread = ThreadPoolExecutor(1, "tower")
        self._waiting: deque[_Job] = deque()
        self._busy = False

    async def submit(self, patches: Patches, oim: OimSettings) -> TowerResult:
        """Have one image or video encoded, and wait for it.

        A job that is cancelled while it waits is never started. Raises what `encode_batch` raises.
        """
        job = _Job(patches, oim, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._start_batch()
        return await job.done

    def close(self) -> None:
        """Cancel the jobs that wait, and start nothing more."""
        for job in self._waiting:
            job.done.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start_batch(self) -> None:
        batch = [] if self._busy else self._next_batch()
        if not batch:
            return
        self._busy = True
        work = run_on(self._thread, self._run, [job.patches for job in batch], batch[0].oim)
        work.add_done_callback(lambda done: self._hand_out(batch, done))

    def _next_batch(self) -> list[_Job]:
        """Take out the oldest job and those that may go with it, oldest first."""
        # A job that is done already was cancelled: nobody waits for it any more.
        waiting = [job for job in self._waiting if not job.done.done()]
        batch = [job for job in waiting if job.fits(waiting[0])][: self._max_batch] or waiting[:1]
        self._waiting = deque(job for job in waiting if job not in batch)
        return batch

    def _run(self, patches: list[Patches], oim: OimSettings) -> list[TowerResult]:
        began = time.monotonic()
        encoded = self._encode_batch(patches, oim)
        ended = time.monotonic()
        return [TowerResult(tokens, began, ended) for tokens in encoded]

    def _hand_out(self, batch: list[_Job], work: "asyncio.Future[list[TowerResult]]") -> None:
        self._busy = False
        if work.cancelled():
            return
        error = work.exception()
        for index, job in enumerate(batch):
            if job.done.done():
                continue
            if error:
                job.done.set_exception(error)
            else:
                job.done.set_result(work.result()[index])
        self._start_batch()
