"""One attempt at a request at a time: a client that tries again must not double the work."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from luvc_core.errors import Superseded


class InFlightByKey:
    """For one event loop. Keys are forgotten with the attempt that they name."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def run(self, key: tuple[str, str], work: Coroutine[Any, Any, None]) -> None:
        """Do the work, after ending what another attempt of this tenant and key still does.

        Raises Superseded once a later attempt comes. An empty name is no key.
        """
        task = asyncio.create_task(work)
        if key[1]:
            if earlier := self._tasks.get(key):
                earlier.cancel()
            self._tasks[key] = task
        try:
            await task
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if own and own.cancelling():
                raise
            raise Superseded("a later attempt at this request took over") from None
        finally:
            if self._tasks.get(key) is task:
                del self._tasks[key]
