"""PyramidDrop (arXiv 2410.17247): three drops along the depth, by the last token's attention.

Published at layers 8, 16 and 24 of 32 with a half kept each time; the share kept follows the
target, and stages come earlier where it would be too small. What is left is counted anew from 0, as
published; along one line on all axes of M-RoPE.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks.fidelity.attention import renumbered, watched
from benchmarks.fidelity.matching import Stages, pyramid
from benchmarks.fidelity.methods.base import Method, StagedPruner
from benchmarks.fidelity.methods.fastv import AttentionPruner
from benchmarks.fidelity.question import Question


class PyramidDrop(Method):
    """Prune by the last token's attention, in three stages."""

    name = "pyramiddrop"

    def pruner(self, question: Question, target: float) -> StagedPruner:
        return _Pruner(question, pyramid(question.layer_count, target))


class _Pruner(AttentionPruner):
    def __init__(self, question: Question, stages: Stages) -> None:
        super().__init__(question, stages)
        self._first = stages.starts[0]

    def hooks(self) -> AbstractContextManager[object]:
        return self._both()

    @contextmanager
    def _both(self) -> Iterator[None]:
        # What is seen are the new positions: the later one runs first.
        with watched(self.language, self.layer_input), renumbered(self.language, self._first):
            yield
