"""A child process that leads a session of its own, so that nothing it started stays behind."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from luvc.ending import with_parent

# Children end with the thread that started them: this one lives as long as the process.
_STARTER = ThreadPoolExecutor(1, "start-child")


class Child:
    """A running process, which Ctrl-C in this one's terminal does not reach.

    It gets SIGTERM when this process is gone, in whatever way that happened (on Linux).

    log: holds its stdout and stderr; without one they go where this process's go. environ: all its
    variables; without it has those of this process.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        with contextlib.ExitStack() as held:
            output = held.enter_context(log.open("wb")) if log else None
            self._process = _STARTER.submit(
                subprocess.Popen,
                with_parent(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=environ,
                cwd=cwd,
                start_new_session=True,
            ).result()

    @property
    def pid(self) -> int:
        """That of the process, of its group and of its session."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace") if self.log else ""

    def kill(self) -> None:
        """End it at once; it is gone when this returns. What it started goes on."""
        self._process.kill()
        self._process.wait()

    def stop(self, seconds: float) -> int:
        """Ask it to stop, and after so many seconds make it; then end whatever is left of its
        session. Returns its exit status. It need not run any more."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()
