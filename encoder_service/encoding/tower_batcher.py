"""Who goes into the vision tower next: pictures of one size go in together."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from luvc_core.compression.settings import OimSettings
from luvc_core.models.base import Patches
from luvc_core.visual_tokens.vision_tokens import VisionTokens

Encode = Callable[[Sequence[Patches], OimSettings], list[VisionTokens]]


@dataclass(frozen=True)
class TowerResult:
    """Tokens, and the moments at which the tower began with them and had done, monotonic."""

    tokens: VisionTokens
    began: float
    ended: float


@dataclass(frozen=True, eq=False)
class _Job:
    patches: Patches
    oim: OimSettings
    done: "asyncio.Future[TowerResult]"

    def fits(self, other: "_Job") -> bool:
        """Whether both may share a batch. A clip is a batch of frames by itself."""
        one, two = self.patches, other.patches
        same = one.grid == two.grid and one.pixels.shape == two.pixels.shape
        return same and one.video is None and two.video is None and self.oim == other.oim


class TowerBatcher:
    """Runs `encode` on one thread. For one event loop.

    Nobody waits for others to come: what came while the tower was at work is what goes in
    together, behind the one that has waited longest. So a picture waits no longer than it would
    alone, but for those of its own size that share its batch.

    most: pictures in a batch. Whoever calls bounds how many wait.
    """

    def __init__(self, encode: Encode, most: int) -> None:
        self._encode = encode
        self._most = most
        self._thread = ThreadPoolExecutor(1, "tower")
        self._waiting: deque[_Job] = deque()
        self._busy = False

    async def encode(self, patches: Patches, oim: OimSettings) -> TowerResult:
        """One picture or clip. Cancelled while it waits, it is never started. Raises what `encode`
        raises."""
        job = _Job(patches, oim, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._next()
        return await job.done

    def close(self) -> None:
        """Start nothing more."""
        for job in self._waiting:
            job.done.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> None:
        batch = [] if self._busy else self._take()
        if not batch:
            return
        self._busy = True
        first = batch[0]
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._thread, self._run, [j.patches for j in batch], first.oim)
        work.add_done_callback(lambda done: self._hand_out(batch, done))

    def _take(self) -> list[_Job]:
        """The oldest job and those that may go with it, oldest first."""
        # Those that nobody waits for any more.
        waiting = [job for job in self._waiting if not job.done.done()]
        batch = [job for job in waiting if job.fits(waiting[0])][: self._most] or waiting[:1]
        self._waiting = deque(job for job in waiting if job not in batch)
        return batch

    def _run(self, patches: list[Patches], oim: OimSettings) -> list[TowerResult]:
        began = time.monotonic()
        found = self._encode(patches, oim)
        ended = time.monotonic()
        return [TowerResult(tokens, began, ended) for tokens in found]

    def _hand_out(self, batch: list[_Job], work: "asyncio.Future[list[TowerResult]]") -> None:
        self._busy = False
        if work.cancelled():
            return
        error = work.exception()
        for number, job in enumerate(batch):
            if job.done.done():
                continue
            if error:
                job.done.set_exception(error)
            else:
                job.done.set_result(work.result()[number])
        self._next()
