"""The quick part of `make bench-chaos`: every case once, smaller, with the real services."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.chaos import __main__ as command
from benchmarks.chaos.cases import QUICK_CASES, run
from benchmarks.chaos.outcomes import Outcome, Row, row, table
from benchmarks.chaos.testbed import QUICK
from benchmarks.common import report


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


def test_a_case_run_again_takes_its_own_place_in_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def again(cases: object, size: object) -> list[Row]:
        return [row("hostile requests", [], {"grown_mib": 1.0})]

    page = tmp_path / "reliability.md"
    page.write_text("<!-- chaos:begin -->\n<!-- chaos:end -->\n")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "PAGE", page)
    monkeypatch.setattr(command, "run", again)
    monkeypatch.setattr("sys.argv", ["chaos", "--only", "hostile"])
    before = row("crowd", [Outcome("typed_error", "NOT_FOUND", 0.1)])
    report.write("chaos", {"rows": [asdict(before), asdict(row("hostile requests", []))]})
    assert command.main() == 0
    kept = json.loads((tmp_path / "chaos.json").read_text())["rows"]
    assert [(r["case"], r["facts"]) for r in kept] == [
        ("crowd", {}), ("hostile requests", {"grown_mib": 1.0}),
    ]  # fmt: skip
    assert "2 cases, 1 requests: 0 answered, 1 ended with a typed error" in page.read_text()
    assert "| hostile requests | 0 | 0 | 0 |  | grown_mib 1 |" in page.read_text()
