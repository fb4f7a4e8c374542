"""Schedules: how many visual tokens enter each layer of the LLM, from all down to none."""

import math
from collections.abc import Sequence
from typing import Literal

RampShape = Literal["linear", "cosine", "step"]

# Each step scores a whole image: more steps cost deep models time and gain them nothing. The models
# by which the profiles were chosen have 12 layers, so no more steps than this.
DEFAULT_STEPS = 11


def ramp_shares(
    layer_count: int,
    start: float,
    end: float,
    shape: RampShape = "linear",
    every: int = 1,
    first_keep: float = 1.0,
    steps: int = DEFAULT_STEPS,
) -> tuple[float, ...]:
    """Compute the share of the visual tokens that enters each layer.

    With layers counted from 0 to n - 1, the ramp's top is layer a = ceil(start * (n - 1)), its foot
    layer b = ceil(end * (n - 1)). Before a the share is 1, from b on 0; b is never past the last
    layer, which therefore sees no visual token. Between, at t = (l - a) / (b - a):

        linear  first_keep * (1 - t)
        cosine  first_keep * (1 + cos(pi * t)) / 2
        step    0: all leave at a

    so layer a has first_keep, and with first_keep 1 it is the last that has all. With 12 layers,
    start 0.4 and end 1: a = 5, b = 11, hence layers 0-5 have all, 6-10 have 5/6 to 1/6, 11 none.

    Args:
        layer_count: n, the layers of the LLM.
        start: where the ramp begins, as a share of the depth, in [0, 1).
        end: where nothing is left, as a share of the depth, in (start, 1].
        shape: how it falls in between.
        every: the share only changes at layers a, a + every, a + 2 * every and so on, and at b.
        first_keep: the share that enters layer a.
        steps: how often the share may change before b. Where `every` would change it more often, it
            is raised until it does not.

    Returns:
        One share a layer.
    """
    last = layer_count - 1
    top, foot = _ceil(start * last), _ceil(end * last)
    stride = max(every, math.ceil((foot - top) / steps))
    shares = []
    for layer in range(layer_count):
        if layer >= foot:
            shares.append(0.0)
        elif layer < top:
            shares.append(1.0)
        else:
            since = (layer - top) // stride * stride
            shares.append(first_keep * _fall(since / (foot - top), shape))
    return tuple(shares)


def token_counts(shares: Sequence[float], token_count: int) -> tuple[int, ...]:
    """Count the tokens that enter each layer: share * token_count, rounded half up."""
    return tuple(math.floor(share * token_count + 0.5) for share in shares)


def layer_average(layer_counts: Sequence[int]) -> float:
    """Average visual tokens over all layers, the measure by which to compare schedules."""
    return sum(layer_counts) / len(layer_counts)


def _fall(t: float, shape: RampShape) -> float:
    """Fall from 1 at t = 0 to 0 at t = 1."""
    if shape == "step":
        return 0.0
    return 1 - t if shape == "linear" else (1 + math.cos(math.pi * t)) / 2


def _ceil(depth: float) -> int:
    """Round up, but take 0.1 * 30, which is 3.0000000000000004, for 3."""
    return math.ceil(depth - 1e-9)
