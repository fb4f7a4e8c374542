"""VTW (arXiv 2405.05803): before layer K all visual tokens leave.

`vtw` takes K from the target: of the two whole layers next to the budget, each question one, so
that the mean over questions is the target. `vtw-kl` searches K as published: the first layer at
which the last token's distribution moves by a mean KL divergence of at most 0.003, over 20 samples.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from benchmarks.fidelity.matching import Stages, balanced_layer
from benchmarks.fidelity.methods.base import Method, StagedPruner
from benchmarks.fidelity.question import Question
from benchmarks.tasks.question_files import file_questions
from luvc_core.chat import Message
from luvc_core.engine.prefill import prefill
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary

SAMPLES = 20
MOST_DIVERGENCE = 0.003


class Vtw(Method):
    """Drop all visual tokens before a layer that meets the target."""

    name = "vtw"

    def pruner(self, question: Question, target: float) -> StagedPruner:
        return Withdrawal(question, balanced_layer(question.layer_count, target, question.index))


class VtwSearched(Method):
    """Drop all visual tokens before the layer that a search finds."""

    name = "vtw-kl"
    matched = False

    def pruner(self, question: Question, target: float) -> StagedPruner:
        notes, key = question.checkpoint.notes, f"vtw/{question.kind}"
        if key not in notes:
            asked = file_questions(question.kind, SAMPLES, "validation")
            samples = [
                Question(question.checkpoint, asked_question, question.kind, i)
                for i, asked_question in enumerate(asked)
            ]
            notes[key] = searched_layer(samples)
        return Withdrawal(question, notes[key])


class Withdrawal(StagedPruner):
    """All visual tokens leave before `layer`, or none where that is the number of layers."""

    def __init__(self, question: Question, layer: int) -> None:
        super().__init__(question, Stages((layer,), (0.0,)))

    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        return PruningDecision(torch.zeros(0, dtype=torch.int64, device=hidden.device))


def searched_layer(samples: Sequence[Question]) -> int:
    """Return K, or the number of layers where none is good enough."""
    layer_count = samples[0].layer_count
    full = [_logits(sample, layer_count) for sample in samples]
    for layer in range(layer_count):
        pruned = (_logits(sample, layer) for sample in samples)
        if mean_divergence(full, pruned) <= MOST_DIVERGENCE:
            return layer
    return layer_count


def mean_divergence(full: Sequence[Tensor], pruned: Iterable[Tensor]) -> float:
    """Return the mean of KL(full || pruned) in nats, of logits [vocabulary]."""
    total = 0.0
    for full_logits, pruned_logits in zip(full, pruned, strict=True):
        p, q = full_logits.log_softmax(0), pruned_logits.log_softmax(0)
        total += float((p.exp() * (p - q)).sum())
    return total / len(full)


@torch.inference_mode()
def _logits(sample: Question, layer: int) -> Tensor:
    """Return the logits of the answer's first token: float32 [vocabulary]."""
    prompt = sample.language.tokenize((Message("user", (*sample.plain, sample.asked.question)),))
    return prefill(sample.language, prompt, Withdrawal(sample, layer), lambda: None)[0]
