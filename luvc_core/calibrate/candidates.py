"""The compressions that are tried: a few shapes, each at several numbers of visual tokens."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from luvc_core.compression.algorithms.frequency_scores import FrequencyScoring, ScoreKind
from luvc_core.compression.algorithms.schedule_budget import matched_first_keep
from luvc_core.compression.algorithms.schedules import ramp_shares
from luvc_core.compression.settings import Compression, OimSettings, Ramp, SpuSettings

# Shares of the visual tokens that the average layer holds, each about a quarter below the last.
LEVELS = (0.8, 0.6, 0.45, 0.34, 0.25, 0.19, 0.14, 0.1, 0.075, 0.05)

# The default first. Random scores are a control, which no one would serve.
SCORES: Sequence[ScoreKind] = sorted(
    set(get_args(ScoreKind)) - {"random"}, key=lambda s: (s != FrequencyScoring.score, s)
)

_STEP = 0.05
# Layers before the ramp hold all tokens. Together they may take this share of the budget; where
# they would take more, the ramp begins earlier.
_MAX_UNPRUNED_SHARE = 2 / 3


@dataclass(frozen=True)
class Shape:
    """The settings of a compression except the number of tokens that it leaves.

    Attributes:
        score: by which tokens are pruned.
        start: where the ramp of the schedule begins, as a share of the depth, if the budget allows.
        end: where it ends, likewise.
        keep_sides: share of the rows, and of the columns, that OIM keeps.
    """

    score: ScoreKind = FrequencyScoring.score
    start: float = 0.0
    end: float = 0.9
    keep_sides: float = 1.0

    def at(self, layer_count: int, average: float) -> Compression | None:
        """Return the compression with that share of visual tokens in the average layer, or None."""
        oim = OimSettings()
        if self.keep_sides < 1:
            # As in the profile `luvc-paper`: merging in late blocks costs least accuracy.
            sides = self.keep_sides
            oim = OimSettings(sides, sides, blocks=(0.5, 0.8), llm_position="source")
        ramp = ramp_at(layer_count, average / self.keep_sides**2, self.start, self.end)
        if ramp is None:
            return None
        return Compression(oim=oim, spu=SpuSettings(ramp, self.score))


def scores(shape: Shape) -> Iterator[Shape]:
    """Vary the score of a shape."""
    return (replace(shape, score=score) for score in SCORES)


def slopes(shape: Shape) -> Iterator[Shape]:
    """Vary the ramp of a shape."""
    # As `balanced`, steeper, later, and to the last layer as `lossless` does for fine detail.
    ends = (0.0, 0.9), (0.0, 0.6), (0.3, 0.8), (0.1, 1.0)
    return (replace(shape, start=start, end=end) for start, end in ends)


def mergings(shape: Shape) -> Iterator[Shape]:
    """Vary the merging of a shape, from none to the most."""
    return (replace(shape, keep_sides=sides) for sides in (1.0, 0.75, 0.5))


AXES = {"scores": scores, "slopes": slopes, "merging": mergings}


def ramp_at(layer_count: int, average: float, start: float, end: float) -> Ramp | None:
    """Return a linear ramp with a given layer average, from `start` to `end` if possible.

    It begins earlier where the layers before it would take too much of the budget. Where it would
    hold too few tokens it ends later, then begins later.

    Args:
        layer_count: layers of the language model.
        average: share of the visual tokens that the average layer is to hold.
        start: share of the depth where the ramp begins.
        end: share of the depth where it ends.

    Returns:
        The ramp, or None where no ramp holds that many tokens.
    """
    while (
        start > 0
        and _whole_layers(layer_count, start) > _MAX_UNPRUNED_SHARE * average * layer_count
    ):
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
