"""A child process in a session of its own, so that nothing it started stays behind."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from luvc.local_stack.ending import tied_to_parent

# Children end with the thread that started them: this one lives as long as the process.
_STARTER = ThreadPoolExecutor(1, "start-child")


class Child:
    """A running child process. Ctrl-C in the terminal of this process does not reach it.

    It gets SIGTERM when this process is gone, in whatever way that happened (on Linux).
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start the process.

        Args:
            command: the program and its arguments.
            log: file for its stdout and stderr; None sends them where those of this process go.
            environ: all its environment variables; None gives it those of this process.
            cwd: its working directory; None for that of this process.
        """
        self.log = log
        with contextlib.ExitStack() as held:
            output = held.enter_context(log.open("wb")) if log else None
            self._process = _STARTER.submit(
                subprocess.Popen,
                tied_to_parent(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=environ,
                cwd=cwd,
                start_new_session=True,
            ).result()

    @property
    def pid(self) -> int:
        """The id of the process, which is also that of its group and of its session."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """The text of its log so far."""
        return self.log.read_text(errors="replace") if self.log else ""

    def kill(self) -> None:
        """Kill the process and wait for its end. Processes that it started go on."""
        self._process.kill()
        self._process.wait()

    def stop(self, seconds: float) -> int:
        """Terminate the process, kill what is left of its session, and return its exit status.

        seconds: how long the process may take to end by itself. It may have ended before.
        """
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()
