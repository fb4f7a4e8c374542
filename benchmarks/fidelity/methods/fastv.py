"""FastV (arXiv 2403.06764): before layer K stays what the last token attended to in layer K - 1.

K is 2 as published, or 1 where two whole layers would take most of the budget. Attention is the
mean over heads; positions stay.
"""

from collections.abc import Sequence

from torch import Tensor

from benchmarks.fidelity.attention import last_query_attention
from benchmarks.fidelity.matching import one_shot
from benchmarks.fidelity.methods.base import Method, StagedPruner, WatchingPruner, rows_of
from benchmarks.fidelity.question import Question
from luvc_core.compression.algorithms.frequency_scores import top_indices
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary


class FastV(Method):
    """Prune by the last token's attention, once."""

    name = "fastv"

    def pruner(self, question: Question, target: float) -> StagedPruner:
        stages = one_shot(question.layer_count, wanted=2, least=1, target=target)
        return AttentionPruner(question, stages)


class AttentionPruner(WatchingPruner):
    """Keeps by the attention of the last token of the prompt in the layer before."""

    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        attention = last_query_attention(
            self.language, layer - 1, self.layer_input.hidden, self.layer_input.rotary
        )
        return PruningDecision(top_indices(attention[rows_of(survivors)], count))
