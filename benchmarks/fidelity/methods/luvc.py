"""LUVC's own: SPU with the default score, and the default ramp's shape at the target.

The ramp ends at 80 % of the depth, later where that is too few tokens. It begins at the first
layer, for targets from 45 % on at 10 % of the depth. What its first layer keeps follows the target.
"""

from benchmarks.fidelity.methods.base import Method
from benchmarks.fidelity.question import Question
from luvc_core.compression.algorithms.schedule_budget import matched_first_keep
from luvc_core.compression.algorithms.schedules import ramp_shares
from luvc_core.compression.settings import Ramp, SpuSettings

_ENDS = (0.8, 0.85, 0.9, 0.95, 1.0)


class Luvc(Method):
    """Prune by SPU with a ramp that meets the target."""

    name = "luvc"

    def pruner(self, question: Question, target: float) -> SpuSettings:
        return SpuSettings(matched_ramp(question.layer_count, target))


def matched_ramp(layer_count: int, target: float) -> Ramp:
    """Return the ramp whose layer average is nearest to the target."""
    budget = target * layer_count
    start = 0.1 if target >= 0.45 else 0.0
    end = next((e for e in _ENDS if sum(ramp_shares(layer_count, start, e)) >= budget - 1e-6), 1.0)
    return Ramp(start, end, first_keep=matched_first_keep(layer_count, start, end, target))
