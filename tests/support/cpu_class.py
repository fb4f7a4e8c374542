"""The class in which Linux schedules the tests' own threads, which no test may change.

Whatever a test starts inherits it. In a realtime class it takes the CPUs from everything else.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def classes() -> set[tuple[int, int]]:
    """Policy and realtime priority of each thread of this process, as `sched(7)` numbers them."""
    found = set()
    for thread in Path("/proc/self/task").glob("*"):
        try:
            number = int(thread.name)
            priority = os.sched_getparam(number).sched_priority
            found.add((os.sched_getscheduler(number), priority))
        except ProcessLookupError:
            continue
    return found


# As of the import of conftest.py, which comes before that of any test.
AT_FIRST = classes()


@pytest.fixture(autouse=True)
def unchanged_cpu_class() -> Iterator[None]:
    """Fail the test after which a thread runs in a class in which none ran at first."""
    yield
    if others := classes() - AT_FIRST:
        pytest.fail(
            f"threads run with (policy, priority) {sorted(others)}, at first {sorted(AT_FIRST)}: "
            "this test changed it, or an import"
        )
