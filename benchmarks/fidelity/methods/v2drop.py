"""V2Drop (CVPR 2026): tokens leave that a layer changes little.

Score: L2 norm of the difference of a token's hidden states at the inputs of two adjacent layers.
Published for Qwen2-VL: before layers 3, 16 and 22 of 28 a quarter, a twentieth and one token stay.
Here the first share follows the target, the second is a fifth of it, the last one token; the first
layer comes earlier where those before it would take more than two thirds of the budget.
"""

from collections.abc import Sequence

from torch import Tensor

from benchmarks.fidelity.matching import Stages, affordable, scaled, solved
from benchmarks.fidelity.methods.base import Method, StagedPruner, WatchingPruner, rows_of
from benchmarks.fidelity.question import Question
from luvc_core.compression.algorithms.frequency_scores import top_indices
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary

_LAYERS = (3, 16, 22)
_OF = 28


class V2Drop(Method):
    """Prune by how much a layer changes a token."""

    name = "v2drop"

    def pruner(self, question: Question, target: float) -> StagedPruner:
        return _Pruner(question, stages(question.layer_count, question.token_count, target))


def stages(layer_count: int, tokens: int, target: float) -> Stages:
    """Return the stages of a question.

    Args:
        layer_count: of the model.
        tokens: visual tokens of the question.
        target: share of them in the average layer.
    """
    first, *rest = (scaled(layer, _OF, layer_count) for layer in _LAYERS)
    starts = (affordable(first, 1, target * layer_count), *rest)

    def of(first: float) -> Stages:
        return Stages(starts, (first, max(first / 5, 1 / tokens), 1 / tokens))

    return solved(layer_count, of, target)


class _Pruner(WatchingPruner):
    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        rows = rows_of(survivors)
        change = (hidden[rows] - self.layer_input.hidden[rows]).float().norm(dim=1)
        return PruningDecision(top_indices(change, count))
