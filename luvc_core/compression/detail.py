"""A measure of fine detail in an image: print and diagrams bear less pruning than scenes."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SHARP_STEP = 51  # of 255
_MAX_LINES = 2048


def detail_of(image: Image.Image) -> float:
    """Count the sharp steps between light and dark on a line of pixels.

    The mean of all rows and all columns. Hardly depends on the image's size, as more pixels show
    the same edges.
    """
    grey = np.asarray(image.convert("L"))
    return (_steps(grey) + _steps(grey.T)) / 2


def _steps(grey: NDArray[np.uint8]) -> float:
    """Average over rows, some of them left out where there are many."""
    rows = grey[:: 1 + len(grey) // _MAX_LINES].astype(np.int16)
    sharp = np.abs(np.diff(rows, axis=1)) >= _SHARP_STEP
    return float(sharp.sum(axis=1).mean())
