"""How fine the detail of a picture is: print and diagrams bear less pruning than scenes."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SHARP = 51  # of 255
_MOST_LINES = 2048


def detail_of(image: Image.Image) -> float:
    """Sharp steps from light to dark or back that a line of pixels crosses, the mean of all rows
    and all columns. Hardly depends on the picture's size, as more pixels show the same edges."""
    grey = np.asarray(image.convert("L"))
    return (_steps(grey) + _steps(grey.T)) / 2


def _steps(grey: NDArray[np.uint8]) -> float:
    """Mean over rows, some left out where there are many."""
    rows = grey[:: 1 + len(grey) // _MOST_LINES].astype(np.int16)
    sharp = np.abs(np.diff(rows, axis=1)) >= _SHARP
    return float(sharp.sum(axis=1).mean())
