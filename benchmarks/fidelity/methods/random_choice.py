"""Random choice: any tokens stay, before the first layer. Every method has to beat this one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.fidelity.matching import Stages
from benchmarks.fidelity.methods.base import Method, StagedPruner
from benchmarks.fidelity.question import Question
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary


class RandomChoice(Method):
    """Keep random tokens."""

    name = "random"

    def pruner(self, question: Question, target: float) -> StagedPruner:
        return _Pruner(question, Stages((0,), (target,)))


class _Pruner(StagedPruner):
    def __init__(self, question: Question, stages: Stages) -> None:
        super().__init__(question, stages)
        # Another draw for each question, the same in each run.
        self._generator = torch.Generator().manual_seed(question.index)

    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        total = sum(len(tokens.rows) for tokens in survivors)
        order = torch.randperm(total, generator=self._generator)
        return PruningDecision(order[:count].sort().values.to(hidden.device))
