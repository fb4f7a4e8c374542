"""Measure whether a score depends on where a token stands: energy and attention by index."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.checkpoint import Checkpoint
from benchmarks.fidelity.attention import last_query_attention
from benchmarks.fidelity.matching import Stages
from benchmarks.fidelity.methods.base import StagedPruner
from benchmarks.fidelity.question import Question
from benchmarks.tasks.question_files import file_questions
from luvc_core.compression.scoring import image_scores
from luvc_core.compression.settings import Ramp, SpuSettings
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary

SCORES = ("high-pass energy", "low-pass energy", "attention of the last token")


@dataclass(frozen=True)
class Profile:
    """A score by the token's index.

    Attributes:
        values: mean score of each index over questions, as a multiple of the mean over indices, for
            indices binned to 64 equal parts.
        slope: of a straight line through all tokens of all questions, from the first index to the
            last, in the same unit.
        error: standard error of the slope.
    """

    name: str
    values: tuple[float, ...]
    slope: float
    error: float


class _Reader(StagedPruner):
    """Prunes nothing; takes the scores of the first image at one layer."""

    def __init__(self, question: Question, layer: int) -> None:
        super().__init__(question, Stages((), ()))
        self._layer = layer
        self._image = question.plain[0]
        self.scores: dict[str, Tensor] = {}

    def decide(
        self, layer: int, hidden: Tensor, rotary: Rotary, survivors: Sequence[SurvivingTokens]
    ) -> list[PruningDecision | None]:
        if layer == self._layer:
            tokens, spu = survivors[0], SpuSettings(Ramp())
            visual, pieces = hidden[tokens.rows], self._image.pieces
            for name, score in (("high-pass energy", spu), ("low-pass energy", _low_pass(spu))):
                self.scores[name] = image_scores(visual, tokens.indices, pieces, score)
            attention = last_query_attention(self.language, layer, hidden, rotary)
            self.scores["attention of the last token"] = attention[tokens.rows]
        return [None] * len(survivors)

    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        raise AssertionError("nothing is pruned")


def _low_pass(spu: SpuSettings) -> SpuSettings:
    return replace(spu, score="low_pass")


def profiles(checkpoint: Checkpoint, kind: str, n: int, depth: float = 0.1) -> list[Profile]:
    """Measure the tokens that enter the layer at a share of the depth.

    Args:
        checkpoint: both halves.
        kind: of question.
        n: test questions.
        depth: the share.

    Returns:
        A profile for each score.
    """
    layer = int(depth * checkpoint.engine.language.layer_count)
    found: dict[str, list[Tensor]] = {name: [] for name in SCORES}
    for index, asked in enumerate(file_questions(kind, n)):
        question = Question(checkpoint, asked, kind, index)
        reader = _Reader(question, layer)
        checkpoint.ask(question.plain, asked.question, reader)
        for name in SCORES:
            found[name].append(reader.scores[name])
    return [profile(name, scores) for name, scores in found.items()]


def profile(name: str, scores: Sequence[Tensor], bins: int = 64) -> Profile:
    """Average a score over questions.

    The slope's error counts questions, not tokens, since the tokens of one image are no independent
    samples.

    Args:
        name: of the score.
        scores: of each question, [tokens].
        bins: of indices.
    """
    relative = [curve.double() / curve.double().mean() for curve in scores]
    slopes = np.array([_slope(curve) for curve in relative])
    resized = torch.stack(
        [
            torch.nn.functional.adaptive_avg_pool1d(curve.view(1, 1, -1), min(bins, len(curve)))
            for curve in relative
        ]
    )
    error = slopes.std(ddof=1) / len(slopes) ** 0.5 if len(slopes) > 1 else float("nan")
    values = tuple(resized.mean(dim=0).flatten().tolist())
    return Profile(name, values, float(slopes.mean()), float(error))


def _slope(values: Tensor) -> float:
    """Fit a line by least squares over the index scaled to [0, 1]; return its slope."""
    place = torch.linspace(0, 1, len(values), dtype=values.dtype)
    place = place - place.mean()
    return float((place * values).sum() / place.square().sum())
