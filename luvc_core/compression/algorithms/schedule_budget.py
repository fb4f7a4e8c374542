"""Ramps that meet a budget of visual tokens in the average layer."""

from collections.abc import Callable

from luvc_core.compression.algorithms.schedules import DEFAULT_STEPS, RampShape, ramp_shares

_MIN_FIRST_KEEP = 1e-6  # first_keep 0 is no setting


def matched_first_keep(
    layer_count: int,
    start: float,
    end: float,
    target: float,
    shape: RampShape = "linear",
    every: int = 1,
    steps: int = DEFAULT_STEPS,
) -> float:
    """Find what the first layer of a ramp must keep to meet a layer average.

    Args:
        layer_count: layers of the LLM.
        start: as in `ramp_shares`.
        end: as in `ramp_shares`.
        target: the layer average, as a share of the visual tokens.
        shape: not `step`, which keeps nothing.
        every: as in `ramp_shares`.
        steps: as in `ramp_shares`.

    Returns:
        `first_keep` for `ramp_shares`; 1 where even that is not enough.
    """

    def average(first: float) -> float:
        return sum(ramp_shares(layer_count, start, end, shape, every, first, steps)) / layer_count

    return max(bisected(average, target), _MIN_FIRST_KEEP)


def bisected(rising: Callable[[float], float], target: float) -> float:
    """Find where in [0, 1] a rising function comes nearest to the target."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2
