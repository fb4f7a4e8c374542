"""Single flight: one run of some work for all callers that want its result at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _SharedTask(Generic[T]):
    """A running task and how many callers wait for it."""

    def __init__(self, task: "asyncio.Task[T]") -> None:
        self.task = task
        self.waiters = 0


class SingleFlight(Generic[T]):
    """Runs work once per key, however many callers ask while it runs. One event loop uses it.

    A cancelled caller does not affect the others; the work is cancelled once all have left.
    """

    def __init__(self) -> None:
        self._running: dict[str, _SharedTask[T]] = {}

    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """Return the result of the running work for `key`, else start `work`.

        Returns:
            The result, and whether this call started the work.
        """
        shared = self._running.get(key)
        started = shared is None
        if shared is None:
            shared = self._running[key] = _SharedTask(asyncio.create_task(work()))
            shared.task.add_done_callback(lambda task: self._finished(key, task))
        shared.waiters += 1
        try:
            return await asyncio.shield(shared.task), started
        finally:
            shared.waiters -= 1
            if not shared.waiters:
                # A later caller must not join work that is being cancelled.
                self._forget(key, shared.task)
                shared.task.cancel()

    def _finished(self, key: str, task: "asyncio.Task[T]") -> None:
        self._forget(key, task)
        # Retrieve the error, or asyncio logs that nobody did where all callers have left.
        if not task.cancelled():
            task.exception()

    def _forget(self, key: str, task: "asyncio.Task[T]") -> None:
        if key in self._running and self._running[key].task is task:
            del self._running[key]
