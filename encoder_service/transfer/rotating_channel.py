"""A channel to one endpoint that is renewed, because another server may take that address over.

A gRPC channel keeps its connection for as long as both ends live. Behind the address of a
Kubernetes Service it would stay with a cluster that is about to be replaced, and never see the new
one.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

# Without it, all channels to one address share one connection, so that renewing would not help.
_UNSHARED_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


@dataclass
class _Connection:
    channel: grpc.aio.Channel
    opened_at: float
    calls: int = 0


class RotatingChannel:
    """Gives calls a channel that is never older than some seconds. For one event loop.

    Attributes:
        generation: counts the channels so far; another one may lead to another server.
    """

    def __init__(self, endpoint: str, options: Sequence[tuple[str, str | int]], age: float) -> None:
        self._endpoint = endpoint
        self._options = (*options, _UNSHARED_CONNECTION)
        self._age = age
        self.generation = 0
        self._newest = self._open()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[grpc.aio.Channel]:
        """Lend a channel to one call. An older channel closes when its last call has ended."""
        if time.monotonic() - self._newest.opened_at > self._age:
            previous, self._newest = self._newest, self._open()
            await self._close_unused(previous)
        connection = self._newest
        connection.calls += 1
        try:
            yield connection.channel
        finally:
            connection.calls -= 1
            await self._close_unused(connection)

    async def close(self) -> None:
        """Close the newest channel, and end the calls on it."""
        await self._newest.channel.close()

    def _open(self) -> _Connection:
        self.generation += 1
        channel = grpc.aio.insecure_channel(self._endpoint, options=self._options)
        return _Connection(channel, time.monotonic())

    async def _close_unused(self, connection: _Connection) -> None:
        if connection is not self._newest and not connection.calls:
            await connection.channel.close()
