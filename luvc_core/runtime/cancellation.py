"""End work on a thread once nobody waits for its result."""

import threading
from types import TracebackType
from typing import Self

from luvc_core.runtime.deadline import Deadline


class WorkAbandoned(Exception):
    """Ends work whose result nobody waits for. Never answered to a caller."""


class Cancellation:
    """A flag that ends work on another thread once its `with` block is left.

    A thread cannot be stopped from outside. So long work calls `check` between its parts: after
    each frame of a video, after each layer of a prefill.
    """

    def __init__(self) -> None:
        self._abandoned = threading.Event()

    def check(self, deadline: Deadline) -> None:
        """Raise DeadlineExceeded or WorkAbandoned where the work should go no further."""
        deadline.check()
        if self._abandoned.is_set():
            raise WorkAbandoned

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._abandoned.set()
