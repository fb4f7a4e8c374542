"""Compare merging of rows and columns (OIM) with merging of the raster as one line.

`make bench-break-case`, or `python -m benchmarks.fidelity.grid_vs_1d`. Both leave equally many
tokens to the projector, which makes one visual token of every 2x2 of them; merging in 1-D brings
tokens together there that never were neighbours. Writes `results/break_case.json`, the accuracy of
both on held-out questions, and `results/break_case.png`, where the patches of one image go.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context

import torch
from luvc.local_stack.ending import end_with_parent

from benchmarks.common import report
from benchmarks.common.checkpoint import Checkpoint
from benchmarks.common.merge_1d import Recorder, displacement, merge_flat
from benchmarks.common.merging_override import Merge, merging_by
from benchmarks.fidelity.grid_vs_1d_figure import Panel, draw
from benchmarks.tasks import KINDS, questions
from benchmarks.tasks.question_files import file_questions, png
from luvc_core.compression.algorithms.merging import merge_grid
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import OimSettings

MODEL = "luvc-tiny-qwen2vl"
KEPT = (0.75, 0.5)
SHOWN = 0.5
# How tokens merge, and how many places apart at most; 0 is no limit.
WAYS: Mapping[str, tuple[Merge, int]] = {
    "OIM": (merge_grid, 0),
    "OIM near": (merge_grid, 3),
    "1-D": (merge_flat, 0),
    "1-D near": (merge_flat, 3),
}
DRAWN = ("OIM near", "OIM", "1-D")


@dataclass(frozen=True)
class Row:
    """One way of merging on one kind of question. Shares in [0, 1].

    Attributes:
        keep: share of rows, and of columns, that stay.
        loyalty: share of answers equal to those without merging.
    """

    merging: str
    keep: float
    tokens: int
    task: str
    n: int
    accuracy: float
    loyalty: float


def settings(keep: float, window: int) -> OimSettings:
    """Return merging with the blocks and positions of the profile `luvc-paper`."""
    oim = PROFILES["luvc-paper"].oim
    return replace(oim, keep_rows=keep, keep_columns=keep, window=window)


def measure(asker: Checkpoint, kind: str, n: int, split: str = "test") -> list[Row]:
    """Measure all ways of merging on held-out questions of a kind, without pruning.

    Args:
        asker: the checkpoint.
        kind: of question.
        n: questions.
        split: where they come from.
    """
    ways = [("none", 1.0), *((name, keep) for keep in KEPT for name in WAYS)]
    right, same, tokens = ([0] * len(ways) for _ in range(3))
    for files, question, truth in file_questions(kind, n, split):
        plain = ""
        for i, (name, keep) in enumerate(ways):
            merge, window = WAYS.get(name, (merge_grid, 0))
            with merging_by(merge):
                (visual,) = asker.encode(files, settings(keep, window))
            answer = asker.ask([visual], question, None).text
            plain = plain if i else answer
            right[i] += answer == truth
            same[i] += answer == plain
            tokens[i] = visual.token_count
    return [
        Row(name, keep, tokens[i], kind, n, right[i] / n, same[i] / n)
        for i, (name, keep) in enumerate(ways)
    ]


def measure_kind(kind: str, n: int) -> list[Row]:
    """Run `measure` in a process of its own, on one thread."""
    torch.set_num_threads(1)
    return measure(Checkpoint.load(MODEL), kind, n)


def image(kind: str = "relation") -> dict[str, float]:
    """Draw where the patches of a held-out image go; return how far, in visual tokens."""
    asker = Checkpoint.load(MODEL)
    image, _, _ = next(questions(kind, 1))
    panels = {}
    for name, (merge, window) in WAYS.items():
        recorder = Recorder(merge)
        with merging_by(recorder):
            (tokens,) = asker.encode([png(image)], settings(SHOWN, window))
        owners, grid = recorder.owners(side=2), tokens.pieces[0].grid
        away = displacement(owners, grid.rows, grid.columns)
        panels[name] = Panel(name, owners.tolist(), grid.rows, grid.columns, away)
    report.RESULTS.mkdir(exist_ok=True)
    draw(image, [panels[name] for name in DRAWN], report.RESULTS / "break_case.png")
    return {name: panel.displacement for name, panel in panels.items()}


def show(rows: Sequence[Row]) -> None:
    """Print a line for each kind and their mean, a column for each way and number of tokens."""
    ways = list(dict.fromkeys((row.keep, row.merging, row.tokens) for row in rows))
    header = ["accuracy %", *(f"{m} ({t})" for _, m, t in ways)]
    cells = {(row.task, row.keep, row.merging): 100 * row.accuracy for row in rows}
    tasks = list(dict.fromkeys(row.task for row in rows))
    lines = [[task, *(f"{cells[task, k, m]:.1f}" for k, m, _ in ways)] for task in tasks]
    means = [sum(cells[task, k, m] for task in tasks) / len(tasks) for k, m, _ in ways]
    print(report.table(header, [*lines, ["mean", *(f"{mean:.1f}" for mean in means)]]))


def main() -> int:
    """Measure, draw, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=60, help="questions a kind (default: %(default)s)")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes (default: %(default)s)"
    )
    options = parser.parse_args()
    displaced = image()
    rows: list[Row] = []
    with ProcessPoolExecutor(
        options.jobs, get_context("spawn"), end_with_parent, (os.getpid(),)
    ) as pool:
        jobs = [pool.submit(measure_kind, kind, options.n) for kind in options.kinds]
        for kind, job in zip(options.kinds, jobs, strict=True):
            rows += job.result()
            print(f"{kind}: done", file=sys.stderr)
    show(rows)
    report.write(
        "break_case",
        {
            "checkpoint": MODEL,
            "displacement_tokens": displaced,
            "rows": [asdict(row) for row in rows],
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
