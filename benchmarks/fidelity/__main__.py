"""Run the fidelity lab: `make bench-fidelity`, or `python -m benchmarks.fidelity`.

Every method of `benchmarks.fidelity.methods` on held-out questions, through the product's encoder
and engine, at equal shares of visual tokens in the average layer. Writes `results/fidelity.json`
(`rows.Row` says what is in it), the curves beside it, and the tables in `docs/fidelity.md`. What is
in the file already is not measured again; `--quick` has files of its own and leaves the docs alone.
"""

import argparse
import sys

from benchmarks.common import report
from benchmarks.common.checkpoint import EMBEDDED
from benchmarks.fidelity import accuracy, curves, profile_table, summary
from benchmarks.fidelity.harness import REDUCTIONS, Aim, aims_of, missing, run
from benchmarks.fidelity.methods import METHODS, OWN
from benchmarks.fidelity.rows import Store
from benchmarks.tasks.question_files import ALL_KINDS

QUICK_KINDS = ("presence", "count", "chart", "document", "movement", "more")
QUICK_N = 10
QUICK_REDUCTIONS = (0.5, 0.9)
PAGE = report.DOCS / "fidelity.md"


def options() -> argparse.Namespace:
    """Parse the command line; `--quick` only changes defaults."""
    quick = "--quick" in sys.argv
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few questions, minutes")
    parser.add_argument("--models", nargs="*", default=list(EMBEDDED), help="default: %(default)s")
    kinds = list(QUICK_KINDS if quick else ALL_KINDS)
    parser.add_argument("--kinds", nargs="*", default=kinds, choices=list(ALL_KINDS))
    parser.add_argument(
        "--methods",
        nargs="*",
        default=list(METHODS),
        choices=list(METHODS),
        help="none: accuracy without compression only (default: all)",
    )
    reductions = list(QUICK_REDUCTIONS if quick else REDUCTIONS)
    parser.add_argument("--reductions", nargs="*", type=float, default=reductions)
    parser.add_argument(
        "--n",
        type=int,
        default=QUICK_N if quick else 500,
        help="questions a kind for our own profiles (default: %(default)s)",
    )
    parser.add_argument(
        "--compared-n",
        type=int,
        default=QUICK_N if quick else 60,
        help="questions a kind for what is compared at equal tokens (default: %(default)s)",
    )
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    return parser.parse_args()


def main() -> int:
    """Measure what is missing, draw, print and write; return the exit status."""
    chosen = options()
    name = "fidelity_quick" if chosen.quick else "fidelity"
    name += "" if chosen.split == "test" else f"_{chosen.split}"
    store = Store(report.RESULTS / f"{name}.json")
    aims = aims_of([METHODS[m] for m in chosen.methods], chosen.reductions)
    wanted: dict[Aim, int] = {
        aim: chosen.n if aim[0] in OWN and aim[1] is None else chosen.compared_n for aim in aims
    }
    tasks = [
        missing(store, model, kind, wanted, chosen.split, plain=0 if aims else chosen.n)
        for model in chosen.models
        for kind in chosen.kinds
    ]
    for _ in run(tasks, store, chosen.jobs):
        pass
    print(f"Accuracy without compression, in percent:\n\n{accuracy.table(store.rows)}")
    print(summary.text(store.rows))
    curves.draw(store.rows, report.RESULTS / f"{name}.png")
    if name == "fidelity":
        summary.into_docs(store.rows, PAGE)
        accuracy.publish(store.rows, PAGE)
        profile_table.publish(store.rows, PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
