"""Single flight: one run of some work for all who want its result at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self, task: "asyncio.Task[T]") -> None:
        self.task = task
        self.waiters = 0


class Flights(Generic[T]):
    """For one event loop. Nobody's cancelling hurts another: work ends early when all have left."""

    def __init__(self) -> None:
        self._running: dict[str, _Flight[T]] = {}

    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """The result of the work under way for `key`, or of `work`, and whether it was ours."""
        flight = self._running.get(key)
        ours = flight is None
        if flight is None:
            flight = self._running[key] = _Flight(asyncio.create_task(work()))
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task), ours
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                # Whoever comes now must not join work that is being given up.
                self._forget(key, flight.task)
                flight.task.cancel()

    def _landed(self, key: str, task: "asyncio.Task[T]") -> None:
        self._forget(key, task)
        # Looked at, so that asyncio does not complain where everybody has left.
        if not task.cancelled():
            task.exception()

    def _forget(self, key: str, task: "asyncio.Task[T]") -> None:
        if key in self._running and self._running[key].task is task:
            del self._running[key]
