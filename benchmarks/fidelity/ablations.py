"""Try one choice at a time: `python -m benchmarks.fidelity.ablations NAME...`, no name for a list.

Each is a list of variants (`benchmarks.fidelity.variants`) at equal layer-averaged tokens, measured
as `benchmarks.fidelity` measures methods, on validation questions. Prints a table and what it
decides; rows are kept in `results/ablations.json`, with `NAME: variant` as the method, all tables
in `results/ablations.md`, and what they decide in `docs/fidelity.md`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.common import report
from benchmarks.common.checkpoint import EMBEDDED
from benchmarks.fidelity.harness import aims_of, missing, run
from benchmarks.fidelity.methods import Method
from benchmarks.fidelity.question import Question
from benchmarks.fidelity.rows import Store
from benchmarks.fidelity.variants import ABLATIONS
from benchmarks.tasks.question_files import ALL_KINDS
from luvc_core.calibrate.answer_questions import Answer

PAGE = report.DOCS / "fidelity.md"


class _Named(Method):
    """A method under the name of an ablation."""

    def __init__(self, ablation: str, method: Method) -> None:
        self.name = f"{ablation}: {method.name}"
        self.matched = method.matched
        self._method = method

    def answer(self, question: Question, target: float) -> Answer:
        return self._method.answer(question, target)


def table(rows: Sequence[Mapping[str, Any]], name: str, reduction: float) -> str:
    """Format the loyalty of each variant in percent, on each task and on average, the best first.

    Args:
        rows: of all ablations.
        name: of the ablation.
        reduction: which of its reductions.
    """
    ablation_rows = [
        r for r in rows if r["method"].startswith(f"{name}: ") and r["reduction"] == reduction
    ]
    tasks = list(dict.fromkeys(row["task"] for row in ablation_rows))
    lines = []
    for method in dict.fromkeys(row["method"] for row in ablation_rows):
        of_task = {
            t: [r for r in ablation_rows if (r["method"], r["task"]) == (method, t)] for t in tasks
        }
        loyal = [mean(r["loyalty"] for r in of_task[t]) if of_task[t] else 0.0 for t in tasks]
        kept = mean(r["retention"] for r in ablation_rows if r["method"] == method)
        lines.append([method.split(": ")[1], mean(loyal), kept, *loyal])
    lines.sort(key=lambda line: -float(line[1]))
    shown = [[line[0], *(f"{100 * float(v):.1f}" for v in line[1:])] for line in lines]
    return report.table(["loyalty %", "mean", "retention", *tasks], shown)


def decided(rows: Sequence[Mapping[str, Any]], name: str, reduction: float) -> str:
    """Compare the best variant with the default in a sentence, by loyalty over all questions.

    Args:
        rows: of all ablations.
        name: of the ablation.
        reduction: which of its reductions.
    """
    ablation_rows = [
        r for r in rows if r["method"].startswith(f"{name}: ") and r["reduction"] == reduction
    ]
    loyal = {
        method: sum(r["loyalty"] * r["n"] for r in ablation_rows if r["method"] == method)
        / sum(r["n"] for r in ablation_rows if r["method"] == method)
        for method in dict.fromkeys(row["method"] for row in ablation_rows)
    }
    best = max(loyal, key=lambda method: loyal[method])
    default = f"{name}: {ABLATIONS[name].default}"
    n = sum(r["n"] for r in ablation_rows if r["method"] == best)
    gain = loyal[best] - loyal[default]
    if gain <= 0:
        kept = f"keeps most answers ({100 * loyal[default]:.1f} %, n = {n})"
        return f"{ABLATIONS[name].default}, the default, {kept}."
    # Answers of two variants agree in most cases, so this is wider than a paired interval.
    both = (loyal[best] + loyal[default]) / 2
    noise = 1.96 * (2 * both * (1 - both) / n) ** 0.5
    verdict = "more than chance" if gain > noise else "no more than chance may do"
    return (
        f"{best.split(': ')[1]} keeps most answers ({100 * loyal[best]:.1f} %), "
        f"{100 * gain:.1f} points over {ABLATIONS[name].default}: {verdict} at n = {n}."
    )


def measure(
    store: Store, name: str, models: Sequence[str], kinds: Sequence[str], n: int, jobs: int | None
) -> None:
    """Measure what the store lacks of an ablation.

    Args:
        store: keeps the rows.
        name: of the ablation.
        models: checkpoints.
        kinds: of questions.
        n: questions of each kind.
        jobs: processes; None for one a core.
    """
    ablation = ABLATIONS[name]
    aims = aims_of([_Named(name, method) for method in ablation.variants], ablation.reductions)
    wanted = dict.fromkeys(aims, n)
    tasks = [missing(store, m, kind, wanted, "validation") for m in models for kind in kinds]
    for _ in run(tasks, store, jobs):
        pass


def chapters(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """Format all that an ablation showed, for each reduction: a table and what it decides."""
    parts = [f"## {name}: {ABLATIONS[name].asks}"]
    for reduction in ABLATIONS[name].reductions:
        parts.append(f"{100 * reduction:.0f} % fewer tokens. {decided(rows, name, reduction)}")
        parts.append(f"```\n{table(rows, name, reduction)}\n```")
    return "\n\n".join(parts)


def publish(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the tables of all ablations to the results, and a line for each to the docs."""
    measured = [
        name for name in ABLATIONS if any(r["method"].startswith(f"{name}: ") for r in rows)
    ]
    text = "\n\n".join(chapters(rows, name) for name in measured)
    (report.RESULTS / "ablations.md").write_text(f"# Ablations\n\n{text}\n")
    lines = [
        [name, ABLATIONS[name].asks, f"{100 * reduction:.0f} %", decided(rows, name, reduction)]
        for name in measured
        for reduction in ABLATIONS[name].reductions
    ]
    header = ["ablation", "what it asks", "fewer tokens", "what it says"]
    report.between_marks(PAGE, "ablations", report.markdown_table(header, lines))


def main() -> int:
    """Measure what is missing of the named ablations, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ABLATIONS))
    parser.add_argument("--models", nargs="*", default=list(EMBEDDED), help="default: %(default)s")
    parser.add_argument("--kinds", nargs="*", default=list(ALL_KINDS), choices=list(ALL_KINDS))
    parser.add_argument("--n", type=int, default=40, help="questions a kind (default: %(default)s)")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    options = parser.parse_args()
    for name in set(options.names) - set(ABLATIONS):
        parser.error(f"no ablation {name!r}; there are {', '.join(ABLATIONS)}")
    if not options.names:
        print("\n".join(f"{name:12}  {ablation.asks}" for name, ablation in ABLATIONS.items()))
    store = Store(report.RESULTS / "ablations.json")
    for name in options.names:
        measure(store, name, options.models, options.kinds, options.n, options.jobs)
        print(chapters(store.rows, name), end="\n\n")
    publish(store.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
