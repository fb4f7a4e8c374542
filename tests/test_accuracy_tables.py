"""The tables of accuracy, made from rows and never typed."""

from typing import Any

from benchmarks.accuracy_tables import by_profile, uncompressed


def row(
    checkpoint: str, profile: str, task: str, accuracy: float, loyalty: float
) -> dict[str, Any]:
    tokens = 1.0 if profile == "off" else 0.42
    return {"checkpoint": checkpoint, "profile": profile, "task": task, "n": 500,
            "accuracy": accuracy, "loyalty": loyalty, "layer_averaged_tokens": tokens}  # fmt: skip


ROWS = [
    row("one", "off", "count", 0.91, 1.0),
    row("one", "off", "chart", 0.93, 1.0),
    row("one", "lossless", "count", 0.90, 0.98),
    row("one", "lossless", "chart", 0.93, 1.0),
    row("two", "off", "count", 0.5, 1.0),
    row("two", "off", "chart", 0.6, 1.0),
]


def test_a_line_for_each_kind_that_all_were_asked() -> None:
    assert uncompressed(ROWS).splitlines()[2:] == [
        "| count | 91.0 | 50.0 |",
        "| chart | 93.0 | 60.0 |",
    ]
    assert uncompressed(ROWS[:5]).splitlines()[2:] == ["| count | 91.0 | 50.0 |"]


def test_a_line_for_each_profile_names_its_worst_kind() -> None:
    lines = by_profile(ROWS).splitlines()
    assert lines[0] == "| profile | n | visual tokens | `one` | `two` |"
    assert lines[3] == "| `lossless` | 500 | 42 | 91.5; 99.0 (count 98.0) | – |"
