"""The contract of a method, and what most methods have in common.

A method is one file with one class. It may change what the LLM sees in place of the media
(`visual`), what leaves on the way through the LLM (`pruner`), or both. `target` is always the share
of the source tokens that the average layer is to hold.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from benchmarks.common.checkpoint import Pruning
from benchmarks.fidelity.attention import LayerInput, watched
from benchmarks.fidelity.matching import Stages
from benchmarks.fidelity.question import Question
from luvc_core.calibrate.answer_questions import Answer
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary
from luvc_core.visual_tokens.vision_tokens import VisionTokens


class Method(ABC):
    """A method, stateless: one object answers all questions.

    Its calls raise Unreachable where a target is too low.

    Attributes:
        matched: whether it is measured at targets; if not, once, at the reduction that it has by
            itself.
    """

    name: str
    matched: bool = True

    def visual(self, question: Question, target: float) -> list[VisionTokens]:
        """Return what the LLM sees, by default all tokens."""
        return question.plain

    def pruner(self, question: Question, target: float) -> Pruning:
        """Return the pruner for this question alone, by default none."""
        return None

    def answer(self, question: Question, target: float) -> Answer:
        """Answer a question under this method."""
        tokens = self.visual(question, target)
        pruner = self.pruner(question, target)
        hooks = pruner.hooks() if isinstance(pruner, StagedPruner) else nullcontext()
        return question.checkpoint.ask(tokens, question.asked.question, pruner, hooks)


class StagedPruner(ABC):
    """A Pruner that keeps a given number of tokens at given layers, over all images together."""

    def __init__(self, question: Question, stages: Stages) -> None:
        self.language = question.language
        self._counts = stages.counts(question.layer_count, question.token_count)

    def decide(
        self, layer: int, hidden: Tensor, rotary: Rotary, survivors: Sequence[SurvivingTokens]
    ) -> list[PruningDecision | None]:
        """Decide which tokens of each image stay before a layer; None for all.

        Args:
            layer: that comes next.
            hidden: [length, hidden], what enters it.
            rotary: of all rows.
            survivors: of each image.
        """
        sizes = [len(tokens.rows) for tokens in survivors]
        if self._counts[layer] >= sum(sizes):
            return [None] * len(survivors)
        chosen = self.choose(layer, hidden, rotary, survivors, self._counts[layer])
        starts = itertools.accumulate(sizes, initial=0)
        return [_between(chosen, start, stop) for start, stop in itertools.pairwise(starts)]

    @abstractmethod
    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        """Choose `count` tokens; indices are into the survivors of all images in a row.

        Args:
            layer: that comes next.
            hidden: [length, hidden], what enters it.
            rotary: of all rows.
            survivors: of each image.
            count: how many stay.
        """

    def hooks(self) -> AbstractContextManager[object]:
        """Return what is held while the answer is made."""
        return nullcontext()


class WatchingPruner(StagedPruner):
    """A pruner that needs what entered the layer before: `layer_input`."""

    def __init__(self, question: Question, stages: Stages) -> None:
        super().__init__(question, stages)
        self.layer_input = LayerInput()

    def hooks(self) -> AbstractContextManager[object]:
        return watched(self.language, self.layer_input)


def rows_of(survivors: Sequence[SurvivingTokens]) -> Tensor:
    """List the rows of the survivors of all images: int64 [survivors]."""
    return torch.cat([tokens.rows for tokens in survivors])


def _between(chosen: PruningDecision, start: int, stop: int) -> PruningDecision:
    """Cut out the part of one image, whose survivors are those from `start` to `stop`."""
    inside = (chosen.indices >= start) & (chosen.indices < stop)
    return PruningDecision(
        chosen.indices[inside] - start,
        hidden=None if chosen.hidden is None else chosen.hidden[inside],
    )
