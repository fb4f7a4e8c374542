"""Start a system under test as a process, ask it for rounds, and end it."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.process_memory import held_mib

ROOT = Path(__file__).parents[3]
PATHS = f"{ROOT}:{ROOT / 'protos'}"
LOAD_SECONDS = 1200.0
ROUND_SECONDS = 1800.0
_STOP_SECONDS = 90.0


class PeerFailed(Exception):
    """A system ended, or said nothing for too long. The text says where its log is."""


@dataclass(frozen=True)
class Round:
    """All questions answered once.

    Attributes:
        fewest_tokens: of any answer.
        mib: memory of all its processes afterwards.
    """

    requests_per_s: float
    fewest_tokens: int
    mib: float


class System:
    """A running system, warmed up."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log
        self._read = b""

    def round(self) -> Round:
        """Have all questions answered. Raises PeerFailed."""
        assert self._process.stdin
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        report = json.loads(self.line(b"{", ROUND_SECONDS))
        rate = len(report["lengths"]) / report["seconds"]
        return Round(rate, min(report["lengths"]), held_mib(self._process.pid))

    def line(self, start: bytes, seconds: float) -> bytes:
        """Return the next line that begins so, and skip what libraries wrote before it.

        Raises:
            PeerFailed: where it does not come in time.
        """
        end = time.monotonic() + seconds
        while not (line := self._any_line(end)).startswith(start):
            pass
        return line

    def _any_line(self, end: float) -> bytes:
        assert self._process.stdout
        while b"\n" not in self._read:
            left = end - time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, left))
            more = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not more:
                status = None
                if ready:
                    # Its output has ended; the process itself ends a moment later.
                    with suppress(subprocess.TimeoutExpired):
                        status = self._process.wait(_STOP_SECONDS)
                how = "was too slow" if status is None else f"ended with status {status}"
                raise PeerFailed(f"{how}; its log: {self._log}")
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line


@contextmanager
def running(python: Path, module: str, task: Path, log: Path) -> Iterator[System]:
    """Run `python -m module task` for the time of the block; yield it ready to answer.

    Args:
        python: the interpreter of the system's environment.
        module: of the system.
        task: path of the questions.
        log: where its output goes.

    Raises:
        PeerFailed: where it does not start.
    """
    environ = {**os.environ, "PYTHONPATH": PATHS}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", module, task],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output,
            env=environ, start_new_session=True,
        )  # fmt: skip
    try:
        system = System(process, log)
        system.line(b"ready", LOAD_SECONDS)
        yield system
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
