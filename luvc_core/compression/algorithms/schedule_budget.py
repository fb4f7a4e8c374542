"""Ramps that meet a budget: so many visual tokens in the average layer."""

from collections.abc import Callable

from luvc_core.compression.algorithms.schedules import DEFAULT_STEPS, RampShape, ramp_shares

_LEAST = 1e-6  # first_keep 0 is no setting


def matched_first_keep(
    layer_count: int,
    start: float,
    end: float,
    target: float,
    shape: RampShape = "linear",
    every: int = 1,
    steps: int = DEFAULT_STEPS,
) -> float:
    """What the first layer of a ramp must keep for a layer average; 1 where that is not enough.

    target: share of the tokens. shape: not `step`, which keeps nothing.
    """

    def average(first: float) -> float:
        return sum(ramp_shares(layer_count, start, end, shape, every, first, steps)) / layer_count

    return max(bisected(average, target), _LEAST)


def bisected(rising: Callable[[float], float], target: float) -> float:
    """Where in [0, 1] a rising function comes nearest to the target."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2
