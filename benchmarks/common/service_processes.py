"""The services as processes, of this or of another checkout, which are never left behind."""

import contextlib
import math
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from luvc.local_stack.child_process import Child
from luvc.local_stack.free_port import free_port

from benchmarks.common.prometheus_samples import scraped

CHECKOUT = Path(__file__).parents[2]
# Packages of a checkout that are not those of this environment, if there are any.
PACKAGES = "runs/packages"
# Small models gain nothing from threads, and lose much where other processes want the CPUs.
SMALL_MODEL = ("--dtype", "float32", "--device", "cpu", "--torch-threads", "1")
STOP_SECONDS = 45.0
# For services that drain long answers first.
_DRAIN_SECONDS = 180.0


class NotReady(Exception):
    """A service that ended, or took too long. The text holds its log."""


@dataclass
class Service:
    """A running service, perhaps not ready. Its log holds what it says."""

    name: str
    endpoint: str
    child: Child

    def wait_ready(self, seconds: float = 120) -> "Service":
        """Wait until it takes calls. Raises NotReady."""
        # Only the path of the log tells which service this is where several have one name.
        self.wait_log(f"{self.name} ready on", seconds)
        return self

    def wait_log(self, text: str, seconds: float = 20) -> str:
        """Return the first line of the log that holds `text`. Raises NotReady."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self.child.output.splitlines():
                if text in line:
                    return line
            if self.child.status is not None:
                break
            time.sleep(0.05)
        raise NotReady(f"no {text!r} in {self.child.log}:\n{self.child.output}")

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Ask it to stop; return its exit status."""
        return self.child.stop(seconds)


@contextlib.contextmanager
def service(
    name: str,
    endpoint: str,
    log: Path,
    *flags: str,
    environ: Mapping[str, str] | None = None,
    module: str | None = None,
) -> Iterator[Service]:
    """Start `python -m <name>_service`, which may not be ready yet, and end it with the block.

    Args:
        name: encoder or decoder.
        endpoint: HOST:PORT where it will listen.
        log: where its output goes.
        flags: of the service, besides those for a small model.
        environ: variables besides those of this process; variables of the services and of Ray are
            not inherited.
        module: what to run instead of `<name>_service`.

    Yields:
        The service.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LUVC_", "RAY_"))}
    command = [sys.executable, "-m", module or f"{name}_service", *flags, *SMALL_MODEL]
    child = Child(command, log, inherited | dict(environ or {}))
    try:
        yield Service(name, endpoint, child)
    finally:
        # At once: how a service stops when it is asked to has tests of its own.
        child.stop(0)


class RestartableService:
    """One service that can be killed, paused and started again at the same address.

    Each start has a log of its own.
    """

    def __init__(self, name: str, port: int, folder: Path, *flags: str) -> None:
        """Choose addresses; nothing runs yet.

        Args:
            name: encoder or decoder.
            port: where it listens.
            folder: where its logs go.
            flags: of the service.
        """
        self.endpoint = f"127.0.0.1:{port}"
        self.metrics_port = free_port()
        self._name = name
        self._folder = folder
        self._flags = ("--port", str(port), "--metrics-port", str(self.metrics_port), *flags)
        self._services: list[Service] = []
        self._held = contextlib.ExitStack()

    def start(self) -> "RestartableService":
        """Start a new process, which may not be ready yet."""
        log = self._folder / f"{self._name}-{self.endpoint.rpartition(':')[2]}"
        running = service(
            self._name, self.endpoint, Path(f"{log}-{len(self._services)}.log"), *self._flags,
            environ={"RAY_DEDUP_LOGS": "0", "RAY_metrics_report_interval_ms": "250"},
        )  # fmt: skip
        self._services.append(self._held.enter_context(running))
        return self

    def wait_ready(self, seconds: float) -> "RestartableService":
        """Wait until the process started last takes calls. Raises NotReady."""
        self._services[-1].wait_ready(seconds)
        return self

    @property
    def pid(self) -> int:
        """The process started last."""
        return self._services[-1].child.pid

    @property
    def log(self) -> str:
        """What all its processes have logged so far."""
        return "".join(service.child.output for service in self._services)

    def kill(self) -> None:
        """Kill it with signal 9; it is gone when this returns."""
        self._services[-1].child.kill()

    def pause(self) -> None:
        """Stop it from running until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """Stop it as an operator does; return its exit status."""
        return self._services[-1].stop()

    def close(self) -> None:
        """End all that it has started."""
        self._held.close()

    def scrape(self) -> dict[str, float]:
        """Read its metrics by name, summed over labels; what nobody reports is 0."""
        found: dict[str, float] = defaultdict(float)
        for sample in scraped(self.metrics_port):
            if not math.isnan(sample.value):
                found[sample.name] += sample.value
        return found


class Services:
    """Services that run until the end of the block; then all are stopped, the last one first."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: list[Service] = []

    def start(
        self, name: str, root: Path, *flags: str, port: int = 0, environ: Mapping[str, str] = {}
    ) -> Service:
        """Start `python -m <name>_service` of a checkout; it may not be ready yet.

        Args:
            name: encoder or decoder.
            root: the checkout that it runs from.
            flags: of the service.
            port: where it listens; 0 for a free one.
            environ: variables besides those of this process.

        Returns:
            The service.
        """
        port = port or free_port()
        command = [sys.executable, "-m", f"{name}_service", f"--port={port}", *flags]
        path = os.pathsep.join(map(str, (root, root / "protos", root / PACKAGES)))
        log = self._logs / f"{len(self._started)}-{name}-{root.name}.log"
        child = Child(command, log, {**os.environ, **environ, "PYTHONPATH": path}, root)
        self._started.append(Service(name, f"127.0.0.1:{port}", child))
        return self._started[-1]

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        for service in reversed(self._started):
            service.stop(_DRAIN_SECONDS)


def replicas_of(decoder_pid: int) -> list[int]:
    """Return the processes that Ray named replicas, in the session that a decoder's process leads.

    Args:
        decoder_pid: the decoder's process.
    """
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
