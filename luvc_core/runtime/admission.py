"""Admission of requests: a bounded number at work, and a bounded number waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from luvc_core.errors import Overloaded
from luvc_core.runtime.deadline import Deadline


class AdmissionLimiter:
    """A bounded number of slots for requests at work; the longest waiting request is next.

    One event loop uses it.

    Attributes:
        waiting: number of requests that wait for a slot.
        running: number of requests that hold one.
    """

    def __init__(self, active: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(active)
        self._active = active
        self._waiting_limit = waiting
        self.waiting = 0
        self.running = 0

    @property
    def is_full(self) -> bool:
        """Whether another request would have to wait."""
        return self._free.locked()

    @asynccontextmanager
    async def slot(self, deadline: Deadline) -> AsyncIterator[None]:
        """Hold a slot for the time of the block.

        Raises:
            Overloaded: at once, where as many wait already as may.
            DeadlineExceeded: where no slot became free in time.
        """
        if self._free.locked() and self.waiting >= self._waiting_limit:
            raise Overloaded(
                f"{self._active} requests are at work and {self.waiting} wait; try again later"
            )
        self.waiting += 1
        try:
            await deadline.wait_for(self._free.acquire())
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()
