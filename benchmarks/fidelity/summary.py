"""Format tables of what was measured, for the terminal and for the docs between two marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.common import report
from benchmarks.fidelity.harness import REDUCTIONS
from benchmarks.fidelity.rows import OFF

Rows = Sequence[Mapping[str, Any]]


def families(rows: Rows) -> list[str]:
    """Return the names of the checkpoints."""
    return list(dict.fromkeys(row["checkpoint"] for row in rows))


def means(rows: Rows, checkpoint: str, value: str = "retention") -> dict[tuple[str, float], float]:
    """Return the mean over tasks of each matched method at each reduction.

    Only what was measured on the same tasks is compared: a method that misses one is left out.

    Args:
        rows: all.
        checkpoint: its name.
        value: which field of the rows.
    """
    checkpoint_rows = [row for row in rows if row["checkpoint"] == checkpoint and row["matched"]]
    tasks = {row["task"] for row in checkpoint_rows}
    found: dict[tuple[str, float], dict[str, float]] = {}
    for row in checkpoint_rows:
        found.setdefault((row["method"], row["reduction"]), {})[row["task"]] = row[value]
    return {key: mean(of.values()) for key, of in found.items() if set(of) == tasks}


def comparison(rows: Rows, checkpoint: str) -> tuple[list[str], list[list[str]]]:
    """Return header and lines: methods against reductions, the best mean retention first.

    Loyalty stands in brackets.
    """
    values, loyalty = means(rows, checkpoint), means(rows, checkpoint, "loyalty")
    reductions = sorted({reduction for _, reduction in values})
    methods = sorted(
        {method for method, _ in values},
        key=lambda m: -mean(values.get((m, r), 0.0) for r in reductions),
    )
    header = ["method", *(f"-{100 * r:.0f} %" for r in reductions)]
    lines = [
        [
            m,
            *(
                f"{_percent(values.get((m, r)))} ({_percent(loyalty.get((m, r)))})"
                for r in reductions
            ),
        ]
        for m in methods
    ]
    return header, lines


def own_points(rows: Rows, checkpoint: str) -> tuple[list[str], list[list[str]]]:
    """Return header and lines of methods with their own reduction: mean and worst task."""
    header = ["", "n a task", "fewer tokens", "retention", "lowest", "loyalty", "lowest", "FLOPs"]
    chosen = [row for row in rows if row["checkpoint"] == checkpoint and not row["matched"]]
    lines = []
    for method in dict.fromkeys(row["method"] for row in chosen):
        method_rows = [row for row in chosen if row["method"] == method]

        def of(key: str, method_rows: Rows = method_rows) -> list[float]:
            return [row[key] for row in method_rows]

        lines.append(
            [
                method.removeprefix("profile:"),
                str(min(of("n"))),
                _percent(mean(of("reduction"))),
                _percent(mean(of("retention"))),
                _worst(method_rows, "retention"),
                _percent(mean(of("loyalty"))),
                _worst(method_rows, "loyalty"),
                _percent(mean(of("prefill_flops"))),
            ]
        )
    return header, lines


def where_others_win(rows: Rows, checkpoint: str, ours: str = "luvc") -> list[str]:
    """Return sentences on tasks and reductions where another method retains more.

    Args:
        rows: all.
        checkpoint: its name.
        ours: which method is ours.
    """
    checkpoint_rows = [row for row in rows if row["checkpoint"] == checkpoint and row["matched"]]
    sentences = []
    for reduction in sorted({row["reduction"] for row in checkpoint_rows}):
        better = []
        for task in dict.fromkeys(row["task"] for row in checkpoint_rows):
            here = {
                r["method"]: r["retention"]
                for r in checkpoint_rows
                if r["task"] == task and r["reduction"] == reduction
            }
            if not here:
                continue
            best = max(here, key=lambda m: here[m])
            if here[best] > here.get(ours, 0.0):
                better.append(f"{task} ({best} {_percent(here[best])}, ours "
                              f"{_percent(here.get(ours))})")  # fmt: skip
        if better:
            sentences.append(f"At {100 * reduction:.0f} % fewer: {', '.join(better)}.")
    return sentences


def text(rows: Rows) -> str:
    """Format all tables for the terminal."""
    parts = []
    for checkpoint in families(rows):
        header, lines = comparison(rows, checkpoint)
        if lines:
            parts.append(
                f"\n{checkpoint}: mean retention % (loyalty) at fewer visual tokens in the average"
                " layer"
            )
            parts.append(report.table(header, lines))
        parts.append(f"\n{checkpoint}: as they are, %")
        parts.append(report.table(*own_points(rows, checkpoint)))
        parts += where_others_win(rows, checkpoint)
    return "\n".join(parts)


def markdown(rows: Rows) -> str:
    """Format all tables for the docs; checkpoints asked without compression only are left out."""
    parts: list[str] = []
    for checkpoint in families([row for row in rows if row["method"] != OFF]):
        header, lines = comparison(rows, checkpoint)
        parts += [f"**{checkpoint}**", ""]
        if lines:
            parts += [
                "Accuracy kept (equal answers), in percent, mean over"
                f" {_tasks(rows, checkpoint)} kinds of questions"
                f" ({_least(rows, checkpoint)} or more each), at fewer visual"
                f" tokens in the average layer, in {_dtypes(rows, checkpoint, matched=True)}:",
                "",
                report.markdown_table(header, lines),
                "",
            ]
        parts += [
            "What users get, in percent (n questions of each kind), in"
            f" {_dtypes(rows, checkpoint, matched=False)}:",
            "",
            report.markdown_table(*own_points(rows, checkpoint)),
            "",
        ]
        losses = where_others_win(rows, checkpoint)
        if losses:
            parts += ["Where a peer keeps more than `luvc`: " + " ".join(losses), ""]
    return "\n".join(parts) or "Not measured yet."


def into_docs(rows: Rows, page: Path) -> None:
    """Rewrite what stands between the marks.

    Raises:
        ValueError: where the marks are missing.
    """
    report.between_marks(page, "fidelity", markdown(rows))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _worst(rows: Rows, value: str) -> str:
    row = min(rows, key=lambda row: row[value])
    return f"{_percent(row[value])} ({row['task']})"


def _tasks(rows: Rows, checkpoint: str) -> int:
    return len({row["task"] for row in rows if row["checkpoint"] == checkpoint})


def _dtypes(rows: Rows, checkpoint: str, matched: bool) -> str:
    checkpoint_rows = (r for r in rows if r["checkpoint"] == checkpoint and r["matched"] == matched)
    return " and ".join(sorted({r.get("dtype", "float32") for r in checkpoint_rows}))


def _least(rows: Rows, checkpoint: str) -> int:
    counts = [
        r["n"] for r in rows if r["checkpoint"] == checkpoint and r["reduction"] in REDUCTIONS
    ]
    return min(counts, default=0)
