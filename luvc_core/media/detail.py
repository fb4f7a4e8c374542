"""How fine the detail of a picture is: print and diagrams bear less pruning than scenes."""

import numpy as np
from PIL import Image

_SHARP = 51  # of 255


def detail_of(image: Image.Image) -> float:
    """Sharp steps from light to dark or back that a line of pixels crosses, the mean of all rows
    and all columns. Hardly depends on the picture's size, as more pixels show the same edges."""
    grey = np.asarray(image.convert("L")).astype(np.int16)
    across = np.abs(np.diff(grey, axis=1)) >= _SHARP
    down = np.abs(np.diff(grey, axis=0)) >= _SHARP
    return float(across.sum(1).mean() + down.sum(0).mean()) / 2
