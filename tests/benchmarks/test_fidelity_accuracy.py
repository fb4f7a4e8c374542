"""The table of accuracy: made from rows, never typed."""

from typing import Any

from benchmarks.fidelity.accuracy import table


def row(checkpoint: str, task: str, accuracy: float, method: str = "off") -> dict[str, Any]:
    return {"checkpoint": checkpoint, "method": method, "task": task, "n": 500,
            "accuracy": accuracy}  # fmt: skip


ROWS = [
    row("one", "count", 0.91),
    row("one", "chart", 0.93),
    row("two", "count", 0.5),
    row("one", "count", 0.1, "luvc"),
]


def test_a_line_for_each_kind_that_all_were_asked() -> None:
    header, _, *lines = table(ROWS).splitlines()
    assert header == "| 500 questions each | `one` | `two` |"
    assert lines == ["| count | 91.0 | 50.0 |"]
    assert "| chart | 93.0 |" in table(ROWS[:2])
