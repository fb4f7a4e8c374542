"""Draw the paper's figures on our checkpoints: `python -m benchmarks.fidelity.figures [NAME...]`.

`index`: scores against the token's index, with slopes. `grids`: merged grids over images.
`survivors`: which tokens are left at some layers, over images. `speed`: accuracy kept against the
time of the prefill, from `results/fidelity.json`. Writes `results/figure_NAME.png`; slopes go to
`results/figure_index.json`, too.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from benchmarks.common import report
from benchmarks.common.checkpoint import EMBEDDED, Checkpoint
from benchmarks.fidelity import curves, overlays, position_bias
from benchmarks.fidelity.rows import OFF
from benchmarks.fidelity.summary import families, means

matplotlib.use("Agg")
QUESTIONS = 100
_COLOURS = dict(zip(position_bias.SCORES, curves.COLOURS, strict=False))


def index(models: Sequence[str]) -> Figure:
    """Draw scores against the token's index: a row for each checkpoint, a column for each score."""
    figure, panels = plt.subplots(
        len(models),
        len(position_bias.SCORES),
        figsize=(4.2 * len(position_bias.SCORES), 0.6 + 3 * len(models)),
        squeeze=False,
        layout="constrained",
    )
    kept = []
    for row, (line, model) in enumerate(zip(panels, models, strict=True)):
        found = position_bias.profiles(Checkpoint.load(model), "presence", QUESTIONS)
        for axes, profile in zip(line, found, strict=True):
            colour = _COLOURS[profile.name]
            bin_centres = [(i + 0.5) / len(profile.values) for i in range(len(profile.values))]
            axes.plot(bin_centres, profile.values, color=colour, linewidth=1.2)
            ends = [1 - profile.slope / 2, 1 + profile.slope / 2]
            axes.plot([0, 1], ends, color="black", linestyle="--", linewidth=1.5)
            name = "" if row else profile.name
            axes.set_title(
                f"{name}\nslope {profile.slope:+.2f} ± {1.96 * profile.error:.2f}".strip()
            )
            axes.set_ylim(0, max(2.0, 1.05 * max(profile.values)))
            axes.set_xlabel("place in the raster (first to last)")
            axes.grid(alpha=0.25)
        line[0].set_ylabel(f"{Path(model).name}\nmultiple of the mean")
        kept.append({"checkpoint": Path(model).name, "profiles": [asdict(p) for p in found]})
    report.write("figure_index", {"questions": QUESTIONS, "checkpoints": kept})
    return figure


def grids(models: Sequence[str]) -> Figure:
    """Draw the merged grids of the first checkpoint."""
    return overlays.merged_grids(Checkpoint.load(models[0]))


def survivors(models: Sequence[str]) -> Figure:
    """Draw the survivors of the first checkpoint."""
    return overlays.layers_of_survivors(Checkpoint.load(models[0]))


def speed(models: Sequence[str]) -> Figure:
    """Draw how much faster the prefill is than uncompressed, in wall time, means over tasks."""
    rows = json.loads((report.RESULTS / "fidelity.json").read_text())["rows"]
    names = [n for n in families(rows) if n in {Path(model).name for model in models}]
    methods = curves.ordered(rows)
    figure, panels = plt.subplots(
        1, len(names), figsize=(1.2 + 5.2 * len(names), 5.4), squeeze=False, sharey=True
    )
    for axes, name in zip(panels[0], names, strict=True):
        plain = [r["prefill_ms"] for r in rows if (r["checkpoint"], r["method"]) == (name, OFF)]
        kept, times = means(rows, name), means(rows, name, "prefill_ms")
        for method in methods:
            points = sorted(
                (sum(plain) / len(plain) / times[key], 100 * kept[key])
                for key in kept
                if key[0] == method
            )
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(x, y, label=method, **curves.style(method, methods))
        axes.axhline(100, color="#888888", linewidth=0.8, zorder=1)
        axes.set_title(name)
        axes.set_xlabel("prefill, times as fast as uncompressed")
        axes.grid(alpha=0.25)
    curves.finish(figure, panels[0])
    return figure


FIGURES: Mapping[str, Callable[[Sequence[str]], Figure]] = {
    "index": index,
    "grids": grids,
    "survivors": survivors,
    "speed": speed,
}


def main() -> int:
    """Draw the named figures, or all; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--models", nargs="*", default=list(EMBEDDED), help="default: %(default)s")
    options = parser.parse_args()
    for name in set(options.names) - set(FIGURES):
        parser.error(f"no figure {name!r}; there are {', '.join(FIGURES)}")
    torch.set_num_threads(1)
    report.RESULTS.mkdir(exist_ok=True)
    for name in options.names or FIGURES:
        figure = FIGURES[name](options.models)
        path = report.RESULTS / f"figure_{name}.png"
        figure.savefig(path, dpi=110)
        plt.close(figure)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
