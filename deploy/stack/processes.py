"""Start processes in order, wait for them, and never leave one behind."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luvc.local_stack.child_process import Child

from deploy.stack.plan import CannotStart

# An encoder and a Ray that drain what they have accepted.
_STOP_SECONDS = 45.0


@dataclass
class Processes:
    """Running processes, each of which writes to a log of its own in `logs`."""

    logs: Path
    _running: dict[str, Child] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], **environ: str) -> None:
        """Start one, in the background.

        Args:
            name: of its log.
            command: what runs.
            environ: variables besides those of this process.
        """
        log = self.logs / f"{name}.log"
        self._running[name] = Child(command, log, {**os.environ, **environ})

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until something is ready.

        Args:
            what: for the error.
            ready: asked until it says yes.
            seconds: to wait.

        Raises:
            CannotStart: when the time is over, or once a process has ended.
        """
        end = time.monotonic() + seconds
        while not ready():
            self.check_alive()
            if time.monotonic() > end:
                raise CannotStart(f"{what} was not ready in {seconds:g} s; logs: {self.logs}")
            time.sleep(0.5)

    def check_alive(self) -> None:
        """Check that all run.

        Raises:
            CannotStart: names a process that has ended.
        """
        for name, child in self._running.items():
            if child.status is not None:
                raise CannotStart(f"{name} ended with {child.status}:\n{child.output[-2000:]}")

    def stop(self, name: str) -> None:
        """End one, which need not run any more, and all that it started."""
        self._running.pop(name).stop(_STOP_SECONDS)

    @contextlib.contextmanager
    def all_ended(self) -> Iterator["Processes"]:
        """Stop all of them at the end of the block, the last one first."""
        try:
            yield self
        finally:
            for name in reversed(list(self._running)):
                self.stop(name)
