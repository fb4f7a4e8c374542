"""Draw the time until a replica holds tokens, by size and way."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from benchmarks.serving.token_transfer.inline_threshold import WAYS, Point

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import LogLocator, NullFormatter

# Okabe and Ito's colours, which colour-blind people tell apart.
_STYLES = {"inline": ("#0072B2", "o"), "encoder": ("#D55E00", "s"), "redis": ("#009E73", "^")}


def draw(points: Sequence[Point], threshold: int, path: Path) -> None:
    """Draw median milliseconds by KiB, a line for each way; the threshold as a dotted line.

    Args:
        points: what was measured.
        threshold: bytes; 0 for none.
        path: of the PNG.
    """
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for way in WAYS:
        colour, mark = _STYLES[way]
        curve = sorted((p.byte_count / 1024, p.p50_ms) for p in points if p.way == way)
        axes.plot(*zip(*curve, strict=True), color=colour, marker=mark, label=way)
    if threshold:
        axes.axvline(threshold / 1024, linestyle=":", color="black", label="threshold")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = sorted({p.byte_count // 1024 for p in points})
    axes.set_xticks(sizes, [f"{k} KiB" if k < 1024 else f"{k // 1024} MiB" for k in sizes])
    axes.tick_params(axis="x", rotation=45)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("visual tokens of a picture")
    axes.set_ylabel("until the replica holds them (ms, median)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
