"""What accuracy.json says, for the README and for the checkpoints' cards, between marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import report
from benchmarks.tasks.files import ALL_KINDS
from luvc_core.models.resolve import embedded

Rows = Sequence[Mapping[str, Any]]
README = Path(__file__).parents[1] / "README.md"
MARKS = "accuracy"


def publish(rows: Rows, readme: Path = README) -> None:
    """Into the README what was measured of embedded checkpoints, and onto each card its part."""
    cards = {name: folder / "README.md" for name, folder in embedded().items()}
    rows = [row for row in rows if row["checkpoint"] in cards]
    report.between_marks(readme, MARKS, f"{uncompressed(rows)}\n\n{by_profile(rows)}")
    for checkpoint in _checkpoints(rows):
        own = [row for row in rows if row["checkpoint"] == checkpoint]
        report.between_marks(cards[checkpoint], MARKS, uncompressed(own))


def uncompressed(rows: Rows) -> str:
    """Accuracy with `off`, in percent: a line for each kind of question."""
    found = {(row["checkpoint"], row["task"]): row for row in rows if row["profile"] == "off"}
    names = _checkpoints(rows)
    lines = [
        [kind, *(_percent([found[name, kind]], "accuracy") for name in names)]
        for kind in ALL_KINDS
        if all((name, kind) in found for name in names)
    ]
    return report.markdown_table(["questions", *(f"`{name}`" for name in names)], lines)


def by_profile(rows: Rows) -> str:
    """A line for each profile: mean accuracy, and how many answers are those of `off`."""
    names, lines = _checkpoints(rows), []
    for profile in dict.fromkeys(row["profile"] for row in rows):
        own = [row for row in rows if row["profile"] == profile]
        lines.append(
            [f"`{profile}`", str(min(row["n"] for row in own)),
             f"{100 * mean(row['layer_averaged_tokens'] for row in own):.0f}",
             *(_kept([row for row in own if row["checkpoint"] == name]) for name in names)]
        )  # fmt: skip
    header = ["profile", "n", "visual tokens", *(f"`{name}`" for name in names)]
    return report.markdown_table(header, lines)


def _kept(rows: Rows) -> str:
    if not rows:
        return "–"
    worst = min(rows, key=lambda row: row["loyalty"])
    return (f"{_percent(rows, 'accuracy')}; {_percent(rows, 'loyalty')} "
            f"({worst['task']} {_percent([worst], 'loyalty')})")  # fmt: skip


def _percent(rows: Rows, value: str) -> str:
    return f"{100 * mean(row[value] for row in rows):.1f}"


def _checkpoints(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["checkpoint"] for row in rows))
