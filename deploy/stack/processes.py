"""Processes that start in order, are waited for, and never stay behind."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.stack.plan import CannotStart

# An encoder and a Ray that drain what they have accepted.
_STOP_SECONDS = 45.0


@dataclass
class Processes:
    """Each leads a session of its own, and writes to a log of its own in `logs`."""

    logs: Path
    _running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], **environ: str) -> None:
        """Start one, in the background."""
        with (self.logs / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environ},
                start_new_session=True,
            )

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Raises CannotStart when the time is over, or once a process has ended."""
        end = time.monotonic() + seconds
        while not ready():
            self.check_alive()
            if time.monotonic() > end:
                raise CannotStart(f"{what} was not ready in {seconds:g} s; logs: {self.logs}")
            time.sleep(0.5)

    def check_alive(self) -> None:
        """Raises CannotStart naming a process that has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                text = (self.logs / f"{name}.log").read_text(errors="replace")[-2000:]
                raise CannotStart(f"{name} ended with {process.returncode}:\n{text}")

    def stop(self, name: str) -> None:
        """End one, which need not run any more, and all that it started."""
        process = self._running.pop(name)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @contextlib.contextmanager
    def all_ended(self) -> Iterator["Processes"]:
        """At the end of the block all of them are stopped, the last one first."""
        try:
            yield self
        finally:
            for name in reversed(list(self._running)):
                self.stop(name)
