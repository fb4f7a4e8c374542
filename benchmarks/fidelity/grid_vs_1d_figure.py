"""Draw which patches become which visual token."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.collections import LineCollection

TITLES = {
    "OIM near": "OIM, at most 3 places apart",
    "OIM": "OIM, any distance within a line",
    "1-D": "1-D, along the whole raster",
}
FOLLOWED = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#00a5a5")


@dataclass(frozen=True)
class Panel:
    """One way of merging.

    Attributes:
        owners: [rows of patches, columns of patches], each patch's visual token, numbered in raster
            order on a grid of `rows` x `columns`.
        displacement: of a patch, in visual tokens.
    """

    name: str
    owners: list[list[int]]
    rows: int
    columns: int
    displacement: float


def draw(image: Image.Image, panels: Sequence[Panel], path: Path) -> None:
    """Draw a column for each panel.

    Above: all tokens, coloured by their place on the grid that the LLM is told. Below: a few tokens
    and all that went into them.

    Args:
        image: what was merged.
        panels: the ways of merging.
        path: of the PNG.
    """
    width = 5.0 * len(panels)
    figure, axes = pyplot.subplots(2, len(panels), figsize=(width, 11.2), layout="constrained")
    for (above, below), panel in zip(axes.T, panels, strict=True):
        owners = np.array(panel.owners)
        _show(above, image, owners, _grid_colours(panel)[owners])
        above.set_title(
            f"{TITLES[panel.name]}\na patch is {panel.displacement:.1f} tokens from its place",
            fontsize=13,
        )
        _show(below, image, owners, _followed_colours(panel)[owners])
        below.set_title(f"what {len(FOLLOWED)} of the tokens are made of", fontsize=13)
    patches, tokens = owners.size, panel.rows * panel.columns
    figure.suptitle(
        f"{patches} patches become {tokens} visual tokens. Above, the colour is the token's place "
        f"on the grid that the LLM sees: smooth is right, speckled is scrambled.",
        fontsize=13,
    )
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _show(axis: Any, image: Image.Image, owners: Any, colours: Any) -> None:
    """Draw the image, pale and grey, under coloured cells with lines between different tokens.

    Args:
        axis: of matplotlib.
        image: what was merged.
        owners: [rows, columns].
        colours: [rows, columns, 4], RGB and opacity in [0, 1].
    """
    rows, columns = owners.shape
    box = (0, columns, rows, 0)
    axis.imshow(image.convert("L"), cmap="gray", vmin=-160, vmax=255, extent=box)
    axis.imshow(colours, extent=box, interpolation="nearest")
    _borders(axis, owners)
    axis.set_xticks([])
    axis.set_yticks([])


def _borders(axis: Any, owners: Any) -> None:
    """Draw a line wherever two neighbouring patches belong to different tokens."""
    lines = [
        ((column + 1, row), (column + 1, row + 1))
        for row, column in np.argwhere(owners[:, 1:] != owners[:, :-1])
    ]
    lines += [
        ((column, row + 1), (column + 1, row + 1))
        for row, column in np.argwhere(owners[1:] != owners[:-1])
    ]
    axis.add_collection(LineCollection(lines, colors="black", linewidths=0.5, alpha=0.6))


def _grid_colours(panel: Panel) -> Any:
    """Return [tokens, 4]: red grows to the right, blue downwards."""
    row, column = np.divmod(np.arange(panel.rows * panel.columns), panel.columns)
    across = column / max(1, panel.columns - 1)
    down = row / max(1, panel.rows - 1)
    green = 0.75 - 0.5 * np.maximum(across, down)
    return np.stack((across, green, down, np.full_like(across, 0.72)), axis=1)


def _followed_colours(panel: Panel) -> Any:
    """Return [tokens, 4]: a few tokens far apart in strong colours, the others clear."""
    colours = np.zeros((panel.rows * panel.columns, 4))
    for i, colour in enumerate(FOLLOWED):
        row = (1 + 3 * (i // 3) * panel.rows // 6 + panel.rows // 8) % panel.rows
        column = (1 + (i % 3) * panel.columns // 3) % panel.columns
        colours[row * panel.columns + column] = matplotlib.colors.to_rgba(colour, 0.75)
    return colours
