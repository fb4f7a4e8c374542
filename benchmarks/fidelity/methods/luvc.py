"""Ours: SPU with the default score, and the default ramp's shape at the target.

The ramp ends at 80 % of the depth as in `lossless`, at 60 % as in `balanced` and `max` for targets
below 45 %, later where that is too few tokens; it begins at the default's 10 %, or earlier where
layers that hold all tokens would take more than two thirds of the budget; and what its first layer
keeps follows the target.
"""

from benchmarks.fidelity.methods.base import Method
from benchmarks.fidelity.question import Question
from luvc_core.algorithms.matching import matched_first_keep
from luvc_core.algorithms.schedules import ramp_shares
from luvc_core.config import Ramp, SpuSettings

_STARTS = (0.1, 0.05, 0.0)
_ENDS = (0.6, 0.8, 0.85, 0.9, 0.95, 1.0)
_MOST_SPENT = 2 / 3


class Luvc(Method):
    name = "luvc"

    def pruner(self, question: Question, target: float) -> SpuSettings:
        return SpuSettings(matched_ramp(question.layer_count, target))


def matched_ramp(layer_count: int, target: float) -> Ramp:
    """The ramp whose layer average is nearest to the target."""
    budget = _MOST_SPENT * target * layer_count
    start = next(
        (s for s in _STARTS if ramp_shares(layer_count, s, 1.0, "step").count(1.0) <= budget), 0.0
    )
    ends = [end for end in _ENDS if end >= (0.8 if target >= 0.45 else 0.6)]
    end = next(
        (e for e in ends if sum(ramp_shares(layer_count, start, e)) >= target * layer_count - 1e-6),
        1.0,
    )
    return Ramp(start, end, first_keep=matched_first_keep(layer_count, start, end, target))
