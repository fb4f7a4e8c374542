"""Ours: SPU with the default score, and the default ramp's shape at the target.

The ramp ends at 80 % of the depth as in `lossless`, at 60 % as in `balanced` and `max` for targets
below 45 %; it begins at the default's 10 %, or earlier where layers that hold all tokens would take
more than two thirds of the budget; and what its first layer keeps follows the target.
"""

from benchmarks.fidelity.matching import bisected
from benchmarks.fidelity.methods.base import Method
from benchmarks.fidelity.question import Question
from luvc_core.algorithms.schedules import ramp_shares
from luvc_core.config import Ramp, SpuSettings

_STARTS = (0.1, 0.05, 0.0)
_MOST_SPENT = 2 / 3


class Luvc(Method):
    name = "luvc"

    def pruner(self, question: Question, target: float) -> SpuSettings:
        return SpuSettings(matched_ramp(question.layer_count, target))


def matched_ramp(layer_count: int, target: float) -> Ramp:
    """The ramp whose layer average is nearest to the target."""
    end = 0.8 if target >= 0.45 else 0.6
    budget = _MOST_SPENT * target * layer_count
    start = next(
        (s for s in _STARTS if ramp_shares(layer_count, s, end, "step").count(1.0) <= budget), 0.0
    )
    return Ramp(start, end, first_keep=matched_first_keep(layer_count, start, end, target))


def matched_first_keep(
    layer_count: int, start: float, end: float, target: float, shape: str = "linear"
) -> float:
    """What the first layer of a ramp must keep for a layer average; 1 where that is not enough."""

    def average(first: float) -> float:
        ramp = Ramp(start, end, shape, first_keep=max(first, _LEAST))  # type: ignore[arg-type]
        shares = ramp_shares(
            layer_count, ramp.start, ramp.end, ramp.shape, ramp.every, ramp.first_keep
        )
        return sum(shares) / layer_count

    return max(bisected(average, target), _LEAST)


_LEAST = 1e-6  # first_keep 0 is no setting
