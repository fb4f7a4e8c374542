"""Measure real vision towers, projector included, with OIM at 4 times fewer tokens and without.

`make bench-tower`, or `python -m benchmarks.compute.tower`. Random weights, float32, the product's
own `encode`. Times are processor time: with one thread on a quiet machine this is wall time, and on
a busy one nearly the same. Plain and merged runs take turns; a ratio is the median over the turns.
Writes `results/tower.json`, where towers that were not measured this time stay, and a plot.
"""

import argparse
import gc
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.common import plots, report
from benchmarks.common.random_vision_half import Geometry, build
from benchmarks.compute.tower_runs import Run, flops, merging_blocks, timed_run
from luvc_core.compression.settings import OimSettings

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
# What `ratios` are about: the merging that there is by default.
DEFAULT = "middle"
NAMES = {"qwen2_vl": "qwen2vl", "internvl": "internvit", "llava_onevision": "siglip"}
# So that all of it takes a quarter of an hour on a slow core.
TURNS = {"internvl": 3, "internvl-4-tiles": 2, "llava_onevision": 3, "qwen2_vl": 2}


@dataclass(frozen=True)
class Row:
    """One tower with one schedule. Times are medians in seconds, ratios are plain / merged.

    Attributes:
        blocks: after which the tower merges, counted from 0.
        ratio_least: the smallest ratio over the turns.
        ratio_most: the largest ratio over the turns.
        ideal_ratio: by the FLOPs of the blocks.
        wall_ratio: by wall time.
        before_share: share of the plain time that has passed before the first merge.
        merging_s: what merging itself takes.
        load: of the machine afterwards, mean of a minute, this process included.
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


def measure(name: str, geometry: Geometry, schedules: Sequence[str], turns: int) -> list[Row]:
    """Measure one tower with each schedule; it is gone from memory when this returns.

    Args:
        name: of the tower.
        geometry: its sizes.
        schedules: when it merges, by name.
        turns: of all schedules and of the plain tower.
    """
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


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how much faster each measured tower is, and the largest share that merging takes.

    Both are about merging at the default blocks; the share is of a merged tower's time.
    """
    default_rows = {r["tower"]: r for r in rows if r["schedule"] == DEFAULT and r["tower"] in NAMES}
    found = {
        f"speedup_{NAMES[name]}": round(default_rows[name]["ratio"], 4)
        for name in NAMES
        if name in default_rows
    }
    if default_rows:
        shares = [r["merging_s"] / r["merged_s"] for r in default_rows.values()]
        found["oim_cost_share"] = round(max(shares), 4)
    return found


def draw(rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw seconds of each tower, plain and merged."""
    panels: dict[str, dict[str, float]] = {}
    for r in rows:
        of_tower = panels.setdefault(f"{r['tower']}, seconds", {"plain": r["plain_s"]})
        of_tower[f"merged, {r['schedule']}"] = r["merged_s"]
    plots.bars("tower", panels)


def show(rows: Sequence[Row]) -> None:
    """Print a line for each tower and schedule."""
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
    """Measure, print and write; return the exit status."""
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
    kept: Sequence[Mapping[str, Any]] = []
    for name in options.families:
        turns = options.repeats or TURNS[name]
        rows += measure(name, GEOMETRIES[name], options.schedules, turns)
        gc.collect()
        # After each, as the last may take minutes.
        kept = report.update(
            "tower", "tower", [asdict(row) for row in rows], report.machine(), ratios
        )
    show(rows)
    draw(kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
