"""The deadline of a request, passed from stage to stage."""

import asyncio
import math
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from luvc_core.errors import DeadlineExceeded

T = TypeVar("T")


@dataclass(frozen=True)
class Deadline:
    """A moment by which a request, or a part of it, has to be done.

    Attributes:
        at: the moment on the monotonic clock, in seconds.
        allowed: seconds that were allowed in all, for the error's text.
        purpose: what they were allowed for.
    """

    at: float
    allowed: float
    purpose: str = "this request"

    @classmethod
    def after(cls, *seconds: float | None) -> "Deadline":
        """Return the earliest of several limits, in seconds from now; None is no limit."""
        allowed = min((s for s in seconds if s is not None), default=math.inf)
        return cls(time.monotonic() + allowed, allowed)

    def within(self, seconds: float, purpose: str) -> "Deadline":
        """Return this deadline, or an earlier one for a part of the work."""
        part = Deadline(time.monotonic() + seconds, seconds, purpose)
        return min(self, part, key=lambda deadline: deadline.at)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.at - time.monotonic())

    def check(self) -> None:
        """Raise DeadlineExceeded once the time is over."""
        if self.seconds_left == 0:
            raise self._error()

    async def wait_for(self, work: Awaitable[T]) -> T:
        """Return the result of `work`, which is cancelled when the time is over.

        Raises:
            DeadlineExceeded: where it was cancelled for that reason.
        """
        limit = asyncio.timeout(None if math.isinf(self.at) else self.seconds_left)
        try:
            async with limit:
                return await work
        except TimeoutError:
            # `seconds_left` may still be above 0: the event loop may wake a little too early.
            if not limit.expired():
                raise
            raise self._error() from None

    def _error(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"the {self.allowed:.3g} s allowed for {self.purpose} are over")
