"""What is tried: a few shapes of compression, each at any number of tokens."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from luvc_core.compression.algorithms.schedule_budget import matched_first_keep
from luvc_core.compression.algorithms.schedules import ramp_shares
from luvc_core.compression.settings import Compression, OimSettings, Ramp, SpuSettings

# Shares of the visual tokens that the average layer holds, about a quarter fewer each.
LEVELS = (0.8, 0.6, 0.45, 0.34, 0.25, 0.19, 0.14, 0.1, 0.075, 0.05)

_STEP = 0.05
# Layers that hold all tokens may take this share of the budget; else the ramp begins earlier.
_MOST_SPENT = 2 / 3


@dataclass(frozen=True)
class Shape:
    """All of a compression but how much it leaves. start, end: of the ramp, as shares of the depth,
    where the budget allows. keep_sides: share of rows and of columns that OIM keeps."""

    score: Literal["high_pass", "low_pass", "norm"] = "high_pass"
    start: float = 0.0
    end: float = 0.9
    keep_sides: float = 1.0

    def at(self, layer_count: int, average: float) -> Compression | None:
        """With that share of the visual tokens in the average layer; None where it cannot be."""
        oim = OimSettings()
        if self.keep_sides < 1:
            # As in the profile `luvc-paper`: merging late costs least.
            sides = self.keep_sides
            oim = OimSettings(sides, sides, blocks=(0.5, 0.8), llm_position="source")
        ramp = ramp_at(layer_count, average / self.keep_sides**2, self.start, self.end)
        if ramp is None:
            return None
        return Compression(oim=oim, spu=SpuSettings(ramp, self.score))


def scores(shape: Shape) -> Iterator[Shape]:
    """The shape with every score."""
    choices: Sequence[Literal["high_pass", "low_pass", "norm"]] = ("high_pass", "low_pass", "norm")
    return (replace(shape, score=score) for score in choices)


def slopes(shape: Shape) -> Iterator[Shape]:
    """As `balanced`, steeper, late, and to the last layer as `lossless` does for fine detail."""
    ends = (0.0, 0.9), (0.0, 0.6), (0.3, 0.8), (0.1, 1.0)
    return (replace(shape, start=start, end=end) for start, end in ends)


def mergings(shape: Shape) -> Iterator[Shape]:
    """With no merging, and more and more of it."""
    return (replace(shape, keep_sides=sides) for sides in (1.0, 0.75, 0.5))


AXES = {"scores": scores, "slopes": slopes, "merging": mergings}


def ramp_at(layer_count: int, average: float, start: float, end: float) -> Ramp | None:
    """A linear ramp with that layer average, from `start` to `end` where there is one.

    It begins earlier where layers before it would take too much of the budget; it ends later, then
    begins later, where it would hold too little. None where no ramp holds as much.
    """
    while start > 0 and _whole_layers(layer_count, start) > _MOST_SPENT * average * layer_count:
        start = round(max(0.0, start - _STEP), 2)
    later = [(start, foot) for foot in _steps(end, 1.0)]
    later += [(begin, 1.0) for begin in _steps(start, 0.95)]
    for begin, foot in later:
        if sum(ramp_shares(layer_count, begin, foot)) >= average * layer_count - 1e-6:
            first = matched_first_keep(layer_count, begin, foot, average)
            return Ramp(begin, foot, first_keep=math.ceil(1e4 * first - 1e-6) / 1e4)
    return None


def _whole_layers(layer_count: int, start: float) -> int:
    return ramp_shares(layer_count, start, 1.0, "step").count(1.0)


def _steps(first: float, last: float) -> list[float]:
    count = round((last - first) / _STEP)
    return [round(first + i * _STEP, 2) for i in range(count + 1)]
