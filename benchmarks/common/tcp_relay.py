"""Pass one address on to a server that may be replaced, as a Kubernetes Service does in an upgrade.

Connections that exist stay where they lead, until one of their ends closes them.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator


class Relay:
    """Passes bytes on.

    Attributes:
        target: HOST:PORT for connections to come.
        open: how many connections live, by target.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen for the time of the block; yield the address."""
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        try:
            yield f"{host}:{port}"
        finally:
            server.close()
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target, task = self.target, asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        host, _, port = target.rpartition(":")
        # The server's own callback would print the end of the block as an error.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            self.open[target] += 1
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                self.open[target] -= 1
        writer.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()


@contextlib.contextmanager
def relaying(relay: Relay) -> Iterator[str]:
    """Run a relay on a thread of its own; yield its address."""
    loop, over, address = asyncio.new_event_loop(), asyncio.Event(), list[str]()
    ready = threading.Event()

    async def run() -> None:
        async with relay.listening() as here:
            address.append(here)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    ready.wait(10)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
