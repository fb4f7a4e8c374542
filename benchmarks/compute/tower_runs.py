"""Time one `encode` of a vision tower, and count the FLOPs that it should take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.common.merging_override import merging_by
from benchmarks.common.random_vision_half import Geometry
from luvc_core.compression.algorithms.merge_targets import plan_targets
from luvc_core.compression.algorithms.merging import merge_grid
from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.compression.settings import OimSettings
from luvc_core.models.base import Patches, VisionHalf
from luvc_core.models.vision.tower import MergePlan


@dataclass
class Run:
    """One `encode`, in seconds of processor time and of wall time.

    Attributes:
        tokens: how many it made.
        merges: when each merge starts and how long it takes, in processor time.
    """

    tokens: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    merges: list[tuple[float, float]] = field(default_factory=list)


def timed_run(half: VisionHalf, patches: Patches, oim: OimSettings) -> Run:
    """Time one `encode` on the CPU.

    Args:
        half: with the tower.
        patches: of one image or video.
        oim: how it merges.
    """
    run = Run()
    wall, cpu = time.perf_counter(), time.process_time()
    with _timed_merges(run, cpu):
        (tokens,) = half.encode([patches], oim)
    run.cpu, run.wall = time.process_time() - cpu, time.perf_counter() - wall
    # Separators show nothing of the image.
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
    """Return after which blocks the tower merges."""
    plan = _plan(geometry, oim)
    return tuple(i for i in range(geometry.depth) if plan.merges_after(i))


def flops(geometry: Geometry, oim: OimSettings) -> int:
    """Return the operations of all blocks of the tower."""
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
