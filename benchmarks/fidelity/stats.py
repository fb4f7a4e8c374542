"""Retention and its interval of 95 %."""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 2000


def retention(right: Sequence[bool], plain: Sequence[bool]) -> float:
    """Return accuracy over that of the same questions uncompressed; 0 where none was right."""
    return sum(right) / max(1, sum(plain))


def retention_interval(right: Sequence[bool], plain: Sequence[bool]) -> tuple[float, float]:
    """Return percentiles of a paired bootstrap over questions: 2,000 resamples from a fixed seed.

    Both accuracies come from the same questions, so resampling them together keeps what they share
    out of the interval. Where compression changed no answer's rightness the width is 0: then look
    at the interval of loyalty.
    """
    pairs = np.array([right, plain], dtype=np.float64)
    n = pairs.shape[1]
    drawn = np.random.default_rng(0).integers(0, n, (_RESAMPLES, n))
    sums = pairs[:, drawn].sum(axis=2)
    low, high = np.percentile(sums[0] / np.maximum(1, sums[1]), [2.5, 97.5])
    return float(low), float(high)
