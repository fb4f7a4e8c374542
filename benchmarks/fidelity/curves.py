"""Draw mean retention against reduction, a panel for each checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.fidelity.summary import families, means

matplotlib.use("Agg")

# Okabe and Ito's colours, which colour-blind people tell apart; marks and dashes tell them, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = "osv^D<>PX*ph"
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", ":", (0, (5, 1, 1, 1)))
Rows = Sequence[Mapping[str, Any]]


def style(method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Return how a method is drawn: ours wide and blue or orange, the others told apart.

    Colour, mark and dash tell the others apart.
    """
    number = methods.index(method)
    ours = method in ("luvc", "spu-paper")
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKS[number % len(MARKS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
        "linewidth": 3.0 if ours else 1.3,
        "markersize": 8 if ours else 5,
        "zorder": 3 if ours else 2,
    }


def ordered(rows: Rows) -> list[str]:
    """Return the matched methods, ours first, so that colours do not depend on the rows."""
    found = sorted({row["method"] for row in rows if row["matched"]})
    return sorted(found, key=lambda m: (m != "luvc", m != "spu-paper", m))


def draw(rows: Rows, path: Path) -> None:
    """Draw the curves; nothing where no matched method was measured."""
    methods, checkpoints = ordered(rows), families(rows)
    if not methods:
        return
    figure, panels = plt.subplots(
        1, len(checkpoints), figsize=(1.2 + 5.2 * len(checkpoints), 5.2), squeeze=False, sharey=True
    )
    for axes, checkpoint in zip(panels[0], checkpoints, strict=True):
        _panel(axes, rows, checkpoint, methods)
    finish(figure, panels[0])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def finish(figure: Figure, panels: Sequence[Axes]) -> None:
    """Label the panels' common axis, and put one legend for all below them."""
    panels[0].set_ylabel("accuracy kept, mean over tasks (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(7, 4 * len(panels)),
        frameon=False,
        fontsize=9,
    )
    figure.set_layout_engine("constrained")


def _panel(axes: Axes, rows: Rows, checkpoint: str, methods: Sequence[str]) -> None:
    values = means(rows, checkpoint)
    for method in methods:
        points = sorted((100 * r, 100 * v) for (m, r), v in values.items() if m == method)
        x, y = zip(*points, strict=True) if points else ((), ())
        axes.plot(x, y, label=method, **style(method, methods))
    axes.axhline(100, color="#888888", linewidth=0.8, zorder=1)
    axes.set_title(checkpoint)
    axes.set_xlabel("visual tokens removed from the average layer (%)")
    axes.grid(alpha=0.25)
