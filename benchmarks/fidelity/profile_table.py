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
    own = [row for row in rows if row["method"].startswith(PREFIX)]
    if not own:
        return "Not measured yet."
    lines = [_line([r for r in own if r["method"] == m]) for m in _unique(own, "method")]
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


def _line(own: Sequence[Row]) -> list[str]:
    return [
        f"`{own[0]['method'].removeprefix(PREFIX)}`",
        str(min(row["n"] for row in own)),
        _by_detail(own, "reduction"),
        _lowest(own, "retention"),
        _reached(own, "retention", _RETENTION),
        _lowest(own, "loyalty"),
        _reached(own, "loyalty", _LOYALTY),
        _by_detail(own, "prefill_flops"),
    ]


def _by_detail(own: Sequence[Row], key: str) -> str:
    """Format the range over scenes and videos, and over charts and documents if it differs."""
    scenes = _range(row[key] for row in own if row["task"] not in _DETAILED)
    detailed = _range(row[key] for row in own if row["task"] in _DETAILED)
    return scenes if scenes == detailed else f"{scenes}, charts and documents {detailed}"


def _range(values: Iterable[float]) -> str:
    shown = sorted({round(100 * value) for value in values})
    return (
        "–" if not shown else "-".join(str(v) for v in dict.fromkeys((shown[0], shown[-1]))) + " %"
    )


def _lowest(own: Sequence[Row], key: str) -> str:
    row = min(own, key=lambda r: r[key])
    return f"{100 * row[key]:.1f} % ({row['task']}, {row['checkpoint'].removeprefix('luvc-tiny-')})"


def _reached(own: Sequence[Row], key: str, bar: float) -> str:
    return f"{sum(row[key] >= bar for row in own)} of {len(own)}"


def _unique(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))
