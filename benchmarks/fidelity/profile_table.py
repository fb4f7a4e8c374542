"""Write what the profiles keep, over all checkpoints and tasks, to the docs between marks."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import report

Row = Mapping[str, Any]
MARKS = "kept"
PREFIX = "profile:"
# Pictures of fine detail, for which a profile may have a schedule of its own.
_DETAILED = ("chart", "document")
# What a cell is counted by: the bar of `lossless`.
_RETENTION, _LOYALTY = 0.99, 0.98


def publish(rows: Sequence[Row], page: Path) -> None:
    """Write the table between its marks.

    Raises:
        ValueError: where the marks are missing.
    """
    report.between_marks(page, MARKS, markdown(rows))


def markdown(rows: Sequence[Row]) -> str:
    """Format a line for each profile. A cell is a task on a checkpoint."""
    profile_rows = [row for row in rows if row["method"].startswith(PREFIX)]
    if not profile_rows:
        return "Not measured yet."
    lines = [
        _line([r for r in profile_rows if r["method"] == m])
        for m in _unique(profile_rows, "method")
    ]
    header = [
        "profile",
        "questions a cell",
        "fewer tokens",
        "accuracy kept: lowest cell",
        f"{100 * _RETENTION:.0f} % or more in",
        "answers unchanged: lowest cell",
        f"{100 * _LOYALTY:.0f} % or more in",
        "prefill's operations",
    ]
    return report.markdown_table(header, lines)


def _line(profile_rows: Sequence[Row]) -> list[str]:
    return [
        f"`{profile_rows[0]['method'].removeprefix(PREFIX)}`",
        str(min(row["n"] for row in profile_rows)),
        _by_detail(profile_rows, "reduction"),
        _lowest(profile_rows, "retention"),
        _reached(profile_rows, "retention", _RETENTION),
        _lowest(profile_rows, "loyalty"),
        _reached(profile_rows, "loyalty", _LOYALTY),
        _by_detail(profile_rows, "prefill_flops"),
    ]


def _by_detail(profile_rows: Sequence[Row], key: str) -> str:
    """Format the range over scenes and videos, and over charts and documents if it differs."""
    scenes = _range(row[key] for row in profile_rows if row["task"] not in _DETAILED)
    detailed = _range(row[key] for row in profile_rows if row["task"] in _DETAILED)
    return scenes if scenes == detailed else f"{scenes}, charts and documents {detailed}"


def _range(values: Iterable[float]) -> str:
    shown = sorted({round(100 * value) for value in values})
    return (
        "–" if not shown else "-".join(str(v) for v in dict.fromkeys((shown[0], shown[-1]))) + " %"
    )


def _lowest(profile_rows: Sequence[Row], key: str) -> str:
    row = min(profile_rows, key=lambda r: r[key])
    return f"{100 * row[key]:.1f} % ({row['task']}, {row['checkpoint'].removeprefix('luvc-tiny-')})"


def _reached(profile_rows: Sequence[Row], key: str, bar: float) -> str:
    return f"{sum(row[key] >= bar for row in profile_rows)} of {len(profile_rows)}"


def _unique(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))
