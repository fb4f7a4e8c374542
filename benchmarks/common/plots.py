"""Draw bars beside each other, as every benchmark of time does."""

from collections.abc import Mapping

import matplotlib
import matplotlib.pyplot as plt

from benchmarks.common import report

matplotlib.use("Agg")

_BLUE = "#0072B2"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bars(name: str, panels: Mapping[str, Mapping[str, float]]) -> None:
    """Write `results/<name>.png`: a panel for each title, and in it a bar for each label."""
    longest = max(map(len, panels.values()))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.6 * len(panels), 1.2 + 0.4 * longest), squeeze=False
    )
    for ax, (title, values) in zip(axes[0], panels.items(), strict=True):
        labels = list(values)
        drawn = ax.barh(labels[::-1], [values[label] for label in labels[::-1]], color=_BLUE)
        ax.bar_label(drawn, fmt=_short, padding=3)
        ax.margins(x=0.3)
        ax.set_title(title, fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        if ax is not axes[0][0] and labels == list(next(iter(panels.values()))):
            ax.set_yticks([])
    figure.tight_layout()
    report.RESULTS.mkdir(exist_ok=True)
    figure.savefig(report.RESULTS / f"{name}.png", dpi=120)
    plt.close(figure)
