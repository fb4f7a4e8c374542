"""Confidence intervals of 95 %."""

import math

_Z = 1.959964


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the interval of a share, `right` out of `n` (Wilson 1927).

    It never leaves [0, 1], and has some width even where all are right.
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = right / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
