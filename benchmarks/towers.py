"""Time of real vision towers, projector included, with OIM at 4 times fewer tokens and without.

`make bench-towers`, or `python -m benchmarks.towers`. Random weights, float32, the product's own
`encode`. Times are processor time: with one thread on a quiet machine the time that passes, and on
a busy one nearly the same. Plain and merged runs take turns; a ratio is the median over the turns.
Writes `results/towers.json`, where towers not measured this time stay.
"""

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import torch

from benchmarks import report
from benchmarks.random_towers import Geometry, build
from benchmarks.seams import merging_by
from luvc_core.algorithms.merging import TokenGrid, merge_grid, plan_targets
from luvc_core.config import OimSettings
from luvc_core.models.base import Patches, VisionHalf
from luvc_core.models.tower import MergePlan

GEOMETRIES: Mapping[str, Geometry] = {
    "internvl": Geometry("internvl", 24, 1024, 4096, 16, side=32, prefix=1),
    "internvl-4-tiles": Geometry("internvl", 24, 1024, 4096, 16, side=32, frames=4, prefix=1),
    # SigLIP-so400m as it is; LLaVA-OneVision's own checkpoints leave its last block out.
    "llava_onevision": Geometry("llava_onevision", 27, 1152, 4304, 16, side=27, multiple=1),
    # 4,096 patches: 896 pixels square.
    "qwen2_vl": Geometry("qwen2_vl", 32, 1280, 5120, 16, side=64),
}
SCHEDULES: Mapping[str, tuple[float, ...]] = {
    "early": (0.1, 0.3),
    "middle": OimSettings().blocks,
    "late": (0.5, 0.8),
}
# So that all of it takes a quarter of an hour on a slow core.
TURNS = {"internvl": 3, "internvl-4-tiles": 2, "llava_onevision": 3, "qwen2_vl": 2}


@dataclass(frozen=True)
class Row:
    """One tower with one schedule. Times are medians in seconds, ratios are plain / merged.

    blocks: merging happens after these, counted from 0. ratio_least, ratio_most: over the turns.
    ideal_ratio: by the FLOPs of the blocks. wall_ratio: by the time that passes. before_share: of
    the plain time, what is gone before the first merge. merging_s: what merging itself takes. load:
    of the machine afterwards, mean of a minute, this process included.
    """

    tower: str
    schedule: str
    blocks: tuple[int, ...]
    source_tokens: int
    merged_tokens: int
    turns: int
    plain_s: float
    merged_s: float
    ratio: float
    ratio_least: float
    ratio_most: float
    ideal_ratio: float
    wall_ratio: float
    before_share: float
    merging_s: float
    load: float


@dataclass
class Run:
    """One `encode`, in seconds: processor time, and the time that passed.

    merges: when each starts and how long it takes, in processor time.
    """

    tokens: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    merges: list[tuple[float, float]] = field(default_factory=list)


def timed_run(half: VisionHalf, patches: Patches, oim: OimSettings) -> Run:
    """One `encode` on the CPU."""
    run = Run()
    wall, cpu = time.perf_counter(), time.process_time()
    with _timed_merges(run, cpu):
        (tokens,) = half.encode([patches], oim)
    run.cpu, run.wall = time.process_time() - cpu, time.perf_counter() - wall
    # Separators show nothing of the picture.
    run.tokens = int((tokens.sizes > 0).sum())
    return run


@contextmanager
def _timed_merges(run: Run, zero: float) -> Iterator[None]:
    def merge(*args: object, **settings: object) -> TokenGrid:
        start = time.process_time()
        merged = merge_grid(*args, **settings)  # type: ignore[arg-type]
        run.merges.append((start - zero, time.process_time() - start))
        return merged

    with merging_by(merge):
        yield


def merging_blocks(geometry: Geometry, oim: OimSettings) -> tuple[int, ...]:
    """After which blocks of the tower it merges."""
    plan = _plan(geometry, oim)
    return tuple(i for i in range(geometry.depth) if plan.merges_after(i))


def flops(geometry: Geometry, oim: OimSettings) -> int:
    """Of all blocks of the tower."""
    side, merging = geometry.side, merging_blocks(geometry, oim)
    grids = iter(
        plan_targets(side, side, oim.keep_rows, oim.keep_columns, len(merging), geometry.multiple)
    )
    tokens, total = side**2, 0
    for block in range(geometry.depth):
        total += geometry.block_flops(tokens)
        if block in merging:
            rows, columns = next(grids)
            tokens = rows * columns
    return total


def _plan(g: Geometry, oim: OimSettings) -> MergePlan:
    return MergePlan(oim, g.side, g.side, depth=g.depth, multiple=g.multiple)


def measure(name: str, geometry: Geometry, schedules: Sequence[str], turns: int) -> list[Row]:
    """One tower with each schedule. It is gone from memory when this returns."""
    half, patches = build(geometry)
    merges = {"plain": OimSettings()} | {
        s: OimSettings(keep_rows=0.5, keep_columns=0.5, blocks=SCHEDULES[s]) for s in schedules
    }
    runs: dict[str, list[Run]] = {schedule: [] for schedule in merges}
    for turn in range(turns):
        for schedule, oim in merges.items():
            run = timed_run(half, patches, oim)
            runs[schedule].append(run)
            print(
                f"{name} {turn + 1}/{turns} {schedule}: {run.cpu:.1f} of {run.wall:.1f} s",
                file=sys.stderr,
            )
    return [_row(name, geometry, s, merges[s], runs["plain"], runs[s]) for s in schedules]


def _row(
    name: str, geometry: Geometry, schedule: str, oim: OimSettings,
    plain: Sequence[Run], merged: Sequence[Run],
) -> Row:  # fmt: skip
    pairs = list(zip(plain, merged, strict=True))
    ratios = [a.cpu / b.cpu for a, b in pairs]
    median = statistics.median
    return Row(
        tower=name,
        schedule=schedule,
        blocks=merging_blocks(geometry, oim),
        source_tokens=plain[0].tokens,
        merged_tokens=merged[0].tokens,
        turns=len(pairs),
        plain_s=median(run.cpu for run in plain),
        merged_s=median(run.cpu for run in merged),
        ratio=median(ratios),
        ratio_least=min(ratios),
        ratio_most=max(ratios),
        ideal_ratio=flops(geometry, OimSettings()) / flops(geometry, oim),
        wall_ratio=median(a.wall / b.wall for a, b in pairs),
        before_share=median(b.merges[0][0] / a.cpu for a, b in pairs),
        merging_s=median(sum(seconds for _, seconds in run.merges) for run in merged),
        load=round(os.getloadavg()[0], 1),
    )


def show(rows: Sequence[Row]) -> None:
    """A line for each tower and schedule."""
    header = ("tower", "schedule", "after blocks", "tokens", "plain s", "merged s", "ratio",
              "least-most", "by FLOPs", "by wall", "before merging", "merging s")  # fmt: skip
    lines = [
        (r.tower, r.schedule, ", ".join(map(str, r.blocks)),
         f"{r.source_tokens} -> {r.merged_tokens}", f"{r.plain_s:.2f}", f"{r.merged_s:.2f}",
         f"{r.ratio:.2f}", f"{r.ratio_least:.2f}-{r.ratio_most:.2f}", f"{r.ideal_ratio:.2f}",
         f"{r.wall_ratio:.2f}", f"{r.before_share:.0%}", f"{r.merging_s:.3f}")
        for r in rows
    ]  # fmt: skip
    print(report.table(header, lines))


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="*", default=list(GEOMETRIES), choices=list(GEOMETRIES))
    parser.add_argument(
        "--schedules", nargs="*", default=["early", "middle"], choices=list(SCHEDULES)
    )
    parser.add_argument("--repeats", type=int, help="turns (default: 2 or 3, by size)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[Row] = []
    for name in options.families:
        turns = options.repeats or TURNS[name]
        rows += measure(name, GEOMETRIES[name], options.schedules, turns)
        gc.collect()
        # After each, as the last may take minutes.
        report.update("towers", "tower", [asdict(row) for row in rows], report.machine())
    show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
