"""Programs that are told to end, or killed, leave nothing behind that they have started."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from luvc.local_stack.child_process import Child

from benchmarks.common.process_memory import descendants

SLEEPER = (sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(300)")
PARENT = """
import sys, time
from pathlib import Path
from luvc.local_stack.child_process import Child
child = Child(sys.argv[2:], Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(300)
"""
# In its `finally`, waits for as long as its first argument says. Prints what came of it.
ORDERLY = """
import sys, time
from luvc.local_stack.ending import end_in_order
end_in_order(patience=float(sys.argv[2]))
try:
    print("ready", flush=True)
    time.sleep(300)
finally:
    time.sleep(float(sys.argv[1]))
    print("closed", flush=True)
"""


@pytest.fixture(autouse=True)
def heeded_sigint() -> Iterator[None]:
    """Let children heed SIGINT, which a run in the background of a script ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stat(pid: int) -> list[str]:
    """Return what the kernel says of a process, from its state on; nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_gone(pid: int) -> bool:
    return not (found := stat(pid)) or found[0] in "ZX"


def started_by(pid: int) -> set[int]:
    """Return what a process has started, what that has started, and so on."""
    return set(descendants(pid)) - {pid}


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_child_ends_with_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", PARENT, log, *SLEEPER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        wait_for(lambda: "ready" in log.read_text())
        parent.send_signal(number)
        wait_for(lambda: is_gone(child))


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    started: list[Child] = []

    def start() -> None:
        started.append(Child(SLEEPER, tmp_path / "log"))
        wait_for(lambda: "ready" in started[0].output)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert started[0].status is None
    assert started[0].stop(20) == -signal.SIGTERM


def test_a_child_ignores_no_signal_that_this_process_would_not_make_it_ignore(
    tmp_path: Path,
) -> None:
    command = ["grep", "SigIgn", "/proc/self/status"]
    child = Child(command, tmp_path / "log")
    wait_for(lambda: child.status is not None)
    assert child.output == subprocess.check_output(command, text=True)


@pytest.mark.parametrize(
    ("number", "closing", "patience", "status", "said"),
    [
        (signal.SIGTERM, 0.0, 20.0, 143, "closed\n"),
        (signal.SIGINT, 0.0, 20.0, -signal.SIGINT, "closed\n"),
        (signal.SIGTERM, 300.0, 0.2, 143, ""),
        (signal.SIGINT, 300.0, 0.2, 130, ""),
    ],
)
def test_a_program_that_is_told_to_end_closes_what_it_has_opened(
    number: signal.Signals, closing: float, patience: float, status: int, said: str
) -> None:
    command = [sys.executable, "-c", ORDERLY, str(closing), str(patience)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as program:
        assert program.stdout
        assert program.stdout.readline() == "ready\n"
        program.send_signal(number)
        assert program.stdout.read() == said
        assert program.wait(20) == status


@pytest.mark.more
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "program",
    [
        ("pytest", "tests/end_to_end/test_services.py", "-p", "no:cacheprovider"),
        ("benchmarks.serving.demo",),
    ],
    ids=lambda words: words[0],
)
def test_nothing_is_left_of_services(
    program: tuple[str, ...], number: signal.Signals, tmp_path: Path
) -> None:
    """As `make` runs them; all of a Ray is there when they are told to end."""
    (tmp_path / "Makefile").write_text(f"run:\n\t{sys.executable} -m {' '.join(program)}\n")
    make = Child(["make", "-f", tmp_path / "Makefile", "run"], tmp_path / "log")
    try:
        wait_for(lambda: any(map(is_replica, started_by(make.pid))), 240)
        started = started_by(make.pid)
        os.killpg(make.pid, number)
        wait_for(lambda: all(map(is_gone, started)), 30)
    finally:
        make.stop(0)


def is_replica(pid: int) -> bool:
    try:
        return b"ServeReplica" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
