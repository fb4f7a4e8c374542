"""The plot of the search: loyalty and accuracy against visual tokens."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from luvc_core.calibrate.trial import MIN_QUESTIONS, Trial

matplotlib.use("Agg")

# From the palette of Okabe and Ito, which colour-blind people can tell apart.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#999999"
Interval = tuple[float, float]


def frontier(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that no trial with as few tokens beats, fewest tokens first."""
    best: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (t.averaged, -t.loyalty)):
        if not best or trial.loyalty > best[-1].loyalty:
            best.append(trial)
    return best


def draw(trials: Sequence[Trial], best: Trial, target: float, title: str, path: Path) -> None:
    """Plot loyalty, and accuracy where right answers are known, with intervals of 95 %.

    A trial that was given up before MIN_QUESTIONS questions is left out.

    Args:
        trials: all that were tried.
        best: the one to mark.
        target: loyalty to reach, drawn as a line.
        title: of the figure.
        path: PNG file to write.
    """
    trials = [trial for trial in trials if trial.asked >= min(MIN_QUESTIONS, trial.questions)]
    known = best.accuracy is not None
    figure, panels = plt.subplots(
        1, 2 if known else 1, figsize=(10.5 if known else 6, 4.8), squeeze=False
    )
    loyalty: Axes = panels[0][0]
    _panel(loyalty, trials, best, lambda t: t.loyalty, lambda t: t.loyalty_interval)
    loyalty.axhline(100 * target, color=_GREY, linestyle="--", linewidth=1, label="target")
    loyalty.set_ylabel("answers as without compression (%)")
    loyalty.legend(loc="lower right", frameon=False, fontsize=9)
    if known:
        accuracy: Axes = panels[0][1]
        _panel(accuracy, trials, best, lambda t: t.accuracy or 0.0, lambda t: t.accuracy_interval)
        accuracy.set_ylabel("right answers (%)")
    figure.suptitle(title, fontsize=11)
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=120, format="png")
    plt.close(figure)


def _panel(
    axes: Axes,
    trials: Sequence[Trial],
    best: Trial,
    value: Callable[[Trial], float],
    interval: Callable[[Trial], Interval],
) -> None:
    edge = frontier(trials)
    rest = [trial for trial in trials if trial not in edge]
    style: dict[str, Any] = {"linestyle": "none", "capsize": 2, "elinewidth": 0.8}
    for group, colour, mark, name in (
        (rest, _GREY, "x", "tried"),
        (edge, _BLUE, "o", "the most with as few tokens"),
        ([best], _ORANGE, "*", "chosen" if best.passed else "best, below the target"),
    ):
        if not group:
            continue
        y = [100 * value(trial) for trial in group]
        bounds = [interval(trial) for trial in group]
        below = [max(0.0, v - 100 * low) for v, (low, _) in zip(y, bounds, strict=True)]
        above = [max(0.0, 100 * high - v) for v, (_, high) in zip(y, bounds, strict=True)]
        size = 14 if mark == "*" else 5
        x = [100 * trial.averaged for trial in group]
        axes.errorbar(
            x, y, [below, above], color=colour, marker=mark, markersize=size, label=name, **style
        )
    axes.plot([100 * t.averaged for t in edge], [100 * value(t) for t in edge], "--", color=_BLUE)
    axes.set_xlabel("visual tokens in the average layer (%)")
    axes.grid(alpha=0.25)
