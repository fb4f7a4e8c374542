"""Uniform stride: every n-th token of the raster stays, before the first layer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.fidelity.matching import Stages
from benchmarks.fidelity.methods.base import Method, StagedPruner
from benchmarks.fidelity.question import Question
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary


class UniformStride(Method):
    """Keep tokens at equal distances."""

    name = "uniform"

    def pruner(self, question: Question, target: float) -> StagedPruner:
        return _Pruner(question, Stages((0,), (target,)))


class _Pruner(StagedPruner):
    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        total = sum(len(tokens.rows) for tokens in survivors)
        return PruningDecision(strided(total, count).to(hidden.device))


def strided(total: int, count: int) -> Tensor:
    """Return the middles of `count` equal parts of range(total): int64 [count]."""
    return (torch.arange(count) * 2 + 1) * total // (2 * max(1, count))
