"""Variants of ablations that are no setting of the product: other axes, other positions."""

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from benchmarks.fidelity.attention import renumbered
from benchmarks.fidelity.matching import Stages
from benchmarks.fidelity.methods.base import Method, StagedPruner
from benchmarks.fidelity.methods.luvc import matched_ramp
from benchmarks.fidelity.question import Question
from luvc_core.compression.algorithms.frequency_scores import low_pass, top_indices
from luvc_core.compression.algorithms.proportional_attention import absorb_pruned_counts
from luvc_core.compression.scoring import image_scores
from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary
from luvc_core.visual_tokens.vision_tokens import VisionTokens


class Variant(Method):
    """The default score and ramp, but for what is named.

    The axis is another one at the first pruning, while all frames are whole; later the product's
    own takes over.

    Attributes:
        axis: `frame`, 1-D along the raster of each frame; `volume`, frames, rows and columns; None
            for the product's.
        renumbered: whether what is left counts from 0.
    """

    def __init__(self, name: str, axis: str | None = None, renumbered: bool = False) -> None:
        self.name = name
        self._axis = axis
        self._renumbered = renumbered

    def pruner(self, question: Question, target: float) -> StagedPruner:
        spu = SpuSettings(matched_ramp(question.layer_count, target))
        return _Pruner(question, spu, self._axis, self._renumbered)


class _Pruner(StagedPruner):
    """Prunes all images and videos together, unlike the product; for one it is the same."""

    def __init__(self, question: Question, spu: SpuSettings, axis: str | None, anew: bool) -> None:
        super().__init__(question, Stages((0,), (1.0,)))
        self._counts = spu.layer_counts(question.layer_count, question.token_count)
        self._first = next(i for i, n in enumerate(self._counts) if n < question.token_count)
        self._spu, self._axis, self._anew = spu, axis, anew
        self._images = question.plain

    def decide(
        self, layer: int, hidden: Tensor, rotary: Rotary, survivors: Sequence[SurvivingTokens]
    ) -> list[PruningDecision | None]:
        decisions = super().decide(layer, hidden, rotary, survivors)
        return [
            decision and _absorbed(decision, hidden, tokens)
            for tokens, decision in zip(survivors, decisions, strict=True)
        ]

    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        parts = [
            self._scores(hidden[tokens.rows], tokens.indices, image)
            for tokens, image in zip(survivors, self._images, strict=True)
        ]
        return PruningDecision(top_indices(torch.cat(parts), count))

    def _scores(self, hidden: Tensor, places: Tensor, image: VisionTokens) -> Tensor:
        piece = image.pieces[0]
        plain = len(image.pieces) > 1 or piece.separators != "none"
        if self._axis is None or plain or len(places) < piece.token_count:
            return image_scores(hidden, places, image.pieces, self._spu)
        grid = (piece.grid.frames, piece.grid.rows, piece.grid.columns)
        return high_pass_energy(hidden, grid, self._axis, self._spu.cutoff)

    def hooks(self) -> AbstractContextManager[object]:
        return renumbered(self.language, self._first) if self._anew else super().hooks()


def _absorbed(
    decision: PruningDecision, hidden: Tensor, survivors: SurvivingTokens
) -> PruningDecision:
    """Let the tokens that stay represent in attention those that leave."""
    kept, counts = decision.indices, survivors.counts
    if len(kept) == 0:
        return decision
    if counts is None:
        counts = torch.ones(len(survivors.rows), device=hidden.device)
    counts = absorb_pruned_counts(hidden[survivors.rows], kept, counts)
    return dataclasses.replace(decision, counts=counts[kept])


def high_pass_energy(
    hidden: Tensor, grid: tuple[int, int, int], axis: str, cutoff: float
) -> Tensor:
    """Score as `token_scores` does by default, along another axis: float32 [tokens].

    Args:
        hidden: [tokens, dim], all of a grid.
        grid: frames, rows, columns.
        axis: as of Variant.
        cutoff: of the low-pass filter.
    """
    values = hidden.float()
    values = values * values.square().mean(dim=-1, keepdim=True).add(1e-6).rsqrt()
    if axis == "frame":
        values = values.view(grid[0], grid[1] * grid[2], -1)
        smooth = low_pass(values, cutoff, 1)
    else:
        values = values.view(*grid, -1)
        smooth = low_pass(low_pass(low_pass(values, cutoff, 2), cutoff, 1), cutoff, 0)
    return (values - smooth).square().sum(dim=-1).flatten()
