"""Channels to one endpoint that are renewed, so that it may be another server's tomorrow.

A channel keeps its connection for as long as both ends live. Behind one address of a Kubernetes
Service it would thus stay with a cluster that is about to be replaced, and never see the new one.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

# Without it, channels to one address share one connection, the renewed ones included.
_OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


@dataclass
class _Connection:
    channel: grpc.aio.Channel
    opened_at: float
    calls: int = 0


class RotatingChannel:
    """Make it on the event loop that uses it. age: seconds after which new calls get a new one.

    generation: counts the channels so far; another one may lead to another server.
    """

    def __init__(self, endpoint: str, options: Sequence[tuple[str, str | int]], age: float) -> None:
        self._endpoint = endpoint
        self._options = (*options, _OWN_CONNECTION)
        self._age = age
        self.generation = 0
        self._newest = self._open()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel for one call. Those that are not the newest close after the last of theirs."""
        if time.monotonic() - self._newest.opened_at > self._age:
            old, self._newest = self._newest, self._open()
            await self._close_unused(old)
        connection = self._newest
        connection.calls += 1
        try:
            yield connection.channel
        finally:
            connection.calls -= 1
            await self._close_unused(connection)

    async def close(self) -> None:
        """Give up all calls on the newest one."""
        await self._newest.channel.close()

    def _open(self) -> _Connection:
        self.generation += 1
        channel = grpc.aio.insecure_channel(self._endpoint, options=self._options)
        return _Connection(channel, time.monotonic())

    async def _close_unused(self, connection: _Connection) -> None:
        if connection is not self._newest and not connection.calls:
            await connection.channel.close()
