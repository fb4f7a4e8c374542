"""Services of this or another checkout as processes, and questions that come without pause."""

import contextlib
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from luvc import Client, LuvcError
from luvc.local_stack.child_process import Child
from luvc.local_stack.free_port import free_port

HERE = Path(__file__).parents[2]
_STOP_SECONDS = 180.0


class NotReady(Exception):
    """A service that ended, or took too long. The text holds the end of its log."""


@dataclass
class Service:
    """A half of the system, started but perhaps not ready. root: the checkout that it runs from."""

    half: str
    root: Path
    port: int
    child: Child

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait_ready(self, seconds: float) -> None:
        """Raises NotReady."""
        end = time.monotonic() + seconds
        while f"{self.half} ready on" not in (said := self.child.said):
            if self.child.status is not None or time.monotonic() > end:
                raise NotReady(f"{self.half} of {self.root}:\n{said[-2000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Let it finish what it has accepted, and take down whatever is left of it."""
        self.child.stop(_STOP_SECONDS)


class Services:
    """Those that run. At the end of its block all are stopped, the last one first."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: list[Service] = []

    def start(
        self, half: str, root: Path, *flags: str, port: int = 0, environ: Mapping[str, str] = {}
    ) -> Service:
        """`python -m HALF_service` of a checkout; without a port, at a free one. environ: beside
        what there is."""
        port = port or free_port()
        command = [sys.executable, "-m", f"{half}_service", f"--port={port}", *flags]
        path = os.pathsep.join((str(root), str(root / "protos")))
        log = self._logs / f"{len(self._started)}-{half}.log"
        child = Child(command, log, {**os.environ, **environ, "PYTHONPATH": path}, root)
        self._started.append(Service(half, root, port, child))
        return self._started[-1]

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        for service in reversed(self._started):
            service.stop()


def replicas_of(decoder_pid: int) -> list[int]:
    """Processes that Ray named replicas, of the session that a decoder's process leads."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
        except (OSError, IndexError):
            continue
        if session == decoder_pid and command.startswith(b"ray::ServeReplica"):
            found.append(int(folder.name))
    return found


@dataclass
class Load:
    """What became of the questions so far. errors: how many, by what was said."""

    asked: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    def add(self, error: str) -> None:
        """One more; empty: it was answered."""
        with self._lock:
            self.asked += 1
            if error:
                self.errors[error] += 1


Ask = Callable[[Client, int], object]


@contextlib.contextmanager
def load(target: str, clients: int, ask: Ask) -> Iterator[Load]:
    """So many clients at once, each asking again when it has its answer, for the time of the block.

    ask: given a client and the number of the question; raises LuvcError where it fails.
    """
    found, over = Load(), threading.Event()

    def run(first: int) -> None:
        number = first
        # One channel each, as so many applications have.
        with Client(target) as client:
            while not over.is_set():
                error = ""
                try:
                    ask(client, number)
                except LuvcError as failed:
                    error = f"{failed.code}: {failed.message[:200]}"
                found.add(error)
                number += clients

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join(_STOP_SECONDS)
