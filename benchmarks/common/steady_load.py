"""Clients that ask without pause, and what became of their questions."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from luvc import Client, LuvcError

# How long a client may take for the question that is under way at the end.
_LAST_ANSWER_SECONDS = 180.0


@dataclass
class Load:
    """Counts of the questions so far.

    Attributes:
        asked: questions that have ended.
        errors: how many failed, by message.
    """

    asked: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def failed(self) -> int:
        """How many questions failed."""
        return sum(self.errors.values())

    def add(self, error: str) -> None:
        """Count one more question; an empty error says that it was answered."""
        with self._lock:
            self.asked += 1
            if error:
                self.errors[error] += 1


Ask = Callable[[Client, int], object]


@contextlib.contextmanager
def load(target: str, clients: int, ask: Ask) -> Iterator[Load]:
    """Run clients for the time of the block, each asking again when it has its answer.

    Args:
        target: what the clients connect to.
        clients: how many ask at once.
        ask: is given a client and the number of the question; raises LuvcError where it fails.

    Yields:
        The counts, which grow meanwhile.
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
            thread.join(_LAST_ANSWER_SECONDS)
