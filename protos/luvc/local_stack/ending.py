"""End programs in order on a signal, and together with the process that started them.

Also a program of its own, which needs nothing but the standard library: `ending.py PARENT COMMAND`.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

PATIENCE_SECONDS = 10.0
# From <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1


def end_in_order(
    on_sigterm: type[BaseException] = SystemExit, patience: float = PATIENCE_SECONDS
) -> None:
    """Let SIGTERM unwind the main thread as Ctrl-C does: `with` and `finally` stop what runs.

    By default SIGTERM ends Python at once. Only the first one counts: `make` hands on what it and
    the whole process group may have got.

    Args:
        on_sigterm: What is raised; it gets the exit status. For SIGINT it is KeyboardInterrupt.
        patience: Seconds after which the process ends in any case, for instance where it waits for
            a thread. What it has started is asked to end, too.
    """

    def leave(number: int, _: FrameType | None) -> None:
        # No SIG_IGN, which programs started from now on would inherit.
        signal.signal(signal.SIGTERM, lambda *_: None)
        last = threading.Timer(patience, _end_now, [128 + number])
        last.daemon = True
        last.start()
        raise on_sigterm(128 + number) if number == signal.SIGTERM else KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    # Ignored where a shell without job control has started the program in the background.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, leave)


def _end_now(status: int) -> None:
    """End this process, from any thread, and ask its children to end."""
    for pid in child_pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    os._exit(status)


def child_pids() -> list[int]:
    """List the processes that this one has started and that it has not waited for. Linux only."""
    lists = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return [int(pid) for pids in lists for pid in pids.split()]


def tied_to_parent(command: Sequence[str | Path]) -> list[str]:
    """Wrap a command so that it gets SIGTERM when this process is gone.

    However this process ends, SIGKILL included; on Linux only. The thread that starts the command
    has to live as long as the process: the kernel looks at that thread.
    """
    words = [str(word) for word in command]
    if sys.platform != "linux":
        return words
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *words]


def end_with_parent(parent: int) -> None:
    """Get SIGTERM when the parent process, of this number, is gone; at once where it is already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def _main() -> None:
    end_with_parent(int(sys.argv[1]))
    # Python ignores these, and what is ignored stays so in the program that takes its place.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    _main()
