"""Put a load on a system that scales, and record how many processes of each half there were."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.samples import Sample

from benchmarks.common.prometheus_samples import scraped
from benchmarks.common.steady_load import Ask, load

MOST = 2


@dataclass(frozen=True)
class Row:
    """A phase of the load.

    Attributes:
        scaled: the half that is to follow the load.
        encoders: how many there were, in order of the changes.
        replicas: how many there were, in order of the changes.
        answered_by: calls that each process of the scaled half answered, of those that serve at the
            end.
    """

    scaled: str
    load: str
    clients: int
    requests: int
    failed: int
    seconds: float
    encoders: tuple[int, ...]
    replicas: tuple[int, ...]
    answered_by: tuple[int, ...]


class Scaled(Protocol):
    """A running system, one half of which scales."""

    @property
    def name(self) -> str: ...

    @property
    def target(self) -> str: ...

    def step(self) -> tuple[int, int]:
        """Return the encoders and replicas that serve now; called every second."""
        ...

    def answered(self) -> dict[str, int]:
        """Return the calls so far by process of the scaled half."""
        ...


def phase(system: Scaled, name: str, clients: int, ask: Ask, seconds: float) -> Row:
    """Put one load on a system until it has followed, and for a while after.

    Args:
        system: what scales.
        name: of the load.
        clients: how many ask at once.
        ask: asks one question.
        seconds: after the system has followed; five times as long where it does not.

    Returns:
        The row.
    """
    half = 0 if system.name == "encoders" else 1
    wanted = MOST if clients > 1 else 1
    seen, before = [system.step()], system.answered()
    start = changed = time.monotonic()
    with load(system.target, clients, ask) as found:
        while time.monotonic() - changed < seconds * (1 if seen[-1][half] == wanted else 5):
            time.sleep(1)
            if (now := system.step()) != seen[-1]:
                seen.append(now)
                changed = time.monotonic()
        after = system.answered()
    counts = tuple(count - before.get(process, 0) for process, count in sorted(after.items()))
    encoders, replicas = (_changes([numbers[i] for numbers in seen]) for i in range(2))
    took = round(time.monotonic() - start, 1)
    row = Row(
        system.name, name, clients, found.asked, found.failed, took, encoders, replicas, counts
    )
    print(f"{row}", *found.errors.items(), sep="\n  ", file=sys.stderr)
    return row


def followed(rows: Sequence[Row]) -> bool:
    """Tell whether the scaled half followed every load, and the other half stayed at one."""
    return all(
        scaled[-1] == (MOST if row.clients > 1 else 1) and other == (1,)
        for row in rows
        for scaled, other in [
            (row.encoders, row.replicas)
            if row.scaled == "encoders"
            else (row.replicas, row.encoders)
        ]
    )


def samples(port: int, name: str) -> list[Sample]:
    """Return the samples of one metric that a process of this machine exports."""
    return [sample for sample in scraped(port) if sample.name == name]


def _changes(numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1])
