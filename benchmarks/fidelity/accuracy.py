"""Write accuracy without compression to the docs and to the checkpoints' cards, between marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import report
from benchmarks.fidelity.rows import OFF
from benchmarks.tasks.question_files import ALL_KINDS
from luvc_core.models.checkpoint.resolve import embedded_checkpoints

Rows = Sequence[Mapping[str, Any]]
MARKS = "accuracy"


def publish(rows: Rows, page: Path) -> None:
    """Write all embedded checkpoints on a page of the docs, and each on its card.

    Raises:
        ValueError: where marks are missing.
    """
    cards = {name: folder / "README.md" for name, folder in embedded_checkpoints().items()}
    rows = [row for row in rows if row["checkpoint"] in cards]
    report.between_marks(page, MARKS, table(rows))
    for name in {row["checkpoint"] for row in rows}:
        checkpoint_rows = [row for row in rows if row["checkpoint"] == name]
        report.between_marks(cards[name], MARKS, table(checkpoint_rows))


def table(rows: Rows) -> str:
    """Format percent, a line for each kind of question that all of these checkpoints were asked."""
    found = {(row["checkpoint"], row["task"]): row for row in rows if row["method"] == OFF}
    names = list(dict.fromkeys(name for name, _ in found))
    lines = [
        [kind, *(f"{100 * found[name, kind]['accuracy']:.1f}" for name in names)]
        for kind in ALL_KINDS
        if all((name, kind) in found for name in names)
    ]
    least = min((row["n"] for row in found.values()), default=0)
    header = [f"{least} questions each", *(f"`{name}`" for name in names)]
    return report.markdown_table(header, lines)
