"""One attempt at a request at a time: a client that tries again does not double the work."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from luvc_core.errors import Superseded


class InFlightByKey:
    """Runs attempts at requests by idempotency key; a later one ends the earlier.

    A key is forgotten when its attempt has ended. For one event loop.
    """

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def run(self, key: tuple[str, str], work: Coroutine[Any, Any, None]) -> None:
        """Do the work of an attempt, after ending an earlier attempt with the same key.

        key: tenant and idempotency key; an empty idempotency key is none. Raises Superseded once a
        later attempt comes.
        """
        task = asyncio.create_task(work)
        if key[1]:
            if earlier := self._tasks.get(key):
                earlier.cancel()
            self._tasks[key] = task
        try:
            await task
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if waiter and waiter.cancelling():
                raise
            raise Superseded("a later attempt at this request took over") from None
        finally:
            if self._tasks.get(key) is task:
                del self._tasks[key]
