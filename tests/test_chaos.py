"""The quick part of `make bench-chaos`: every case once, smaller, with the real services."""

import asyncio

import pytest

from benchmarks.chaos.outcomes import Outcome, row, table
from benchmarks.chaos.runs import QUICK_CASES, run
from benchmarks.chaos.stage import QUICK


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_under_fire() -> None:
    rows = asyncio.run(run(list(QUICK_CASES.values()), QUICK))
    assert not {r.case: r.faults for r in rows if r.faults}, table(rows)
    for found in rows:
        ended = (found.answered, found.typed_errors, found.lost, found.wrong, found.hung)
        assert sum(ended) == found.requests > 0, found


def test_a_row_says_what_is_wrong_with_it() -> None:
    outcomes = [
        Outcome("answered", "OK", 0.1),
        Outcome("wrong", "OK", 0.1),
        Outcome("lost", "INTERNAL", 0.1),
        Outcome("typed_error", "NOT_FOUND", 0.1),
    ]
    found = row("c", outcomes, {"n": 1}, {"too many": False, "fine": True}, ("UNAVAILABLE",))
    assert (found.requests, found.answered, found.typed_errors, found.lost) == (4, 1, 1, 1)
    assert found.faults == ["1 lost", "1 wrong", "too many", "1 INTERNAL", "1 NOT_FOUND"]
    assert "FAULT in c: too many" in table([found])
    assert row("c", outcomes[:1]).faults == []
