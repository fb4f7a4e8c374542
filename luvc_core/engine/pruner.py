"""Pruners decide which visual tokens stay: their contract, and SPU, the product's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from luvc_core.compression.algorithms.frequency_scores import top_indices
from luvc_core.compression.algorithms.proportional_attention import absorb_pruned_counts
from luvc_core.compression.scoring import image_scores
from luvc_core.compression.settings import SpuSettings
from luvc_core.models.base import Rotary
from luvc_core.visual_tokens.vision_tokens import VisionTokens


@dataclass(frozen=True)
class SurvivingTokens:
    """Tokens of one image that are still in the sequence; runs of text may stand between them.

    Attributes:
        rows: int64 [survivors], ascending, their rows in the sequence.
        indices: int64 [survivors], ascending, which of the image's tokens they are.
        counts: float32 [survivors], how many of the image's tokens each one represents in
            attention; None for one each.
    """

    rows: Tensor
    indices: Tensor
    counts: Tensor | None = None


@dataclass(frozen=True)
class PruningDecision:
    """A decision on one image: which surviving tokens enter a layer, and what changes in them.

    Attributes:
        indices: int64 [kept], ascending, into the image's survivors.
        counts: float32 [kept], how many of the image's tokens each one represents from now on;
            None where they represent what they did.
        hidden: [kept, hidden], hidden states that replace theirs, for methods that merge leaving
            tokens into those that stay; None where nothing changes.
    """

    indices: Tensor
    counts: Tensor | None = None
    hidden: Tensor | None = None


class Pruner(Protocol):
    """Chooses which visual tokens of one request stay.

    There is one object for each request, so it may remember what it saw before earlier layers.
    """

    def decide(
        self, layer: int, hidden: Tensor, rotary: Rotary, survivors: Sequence[SurvivingTokens]
    ) -> Sequence[PruningDecision | None]:
        """Choose which visual tokens enter `layer`; called once before every layer, in order.

        A pruner writes into none of its arguments: prefill applies what it returns. Tokens that
        stay keep their rotary positions.

        Args:
            layer: counts from 0.
            hidden: [length, hidden], what enters the layer if all tokens stay.
            rotary: cosines and sines of all rows.
            survivors: for each image, the tokens still in the sequence.

        Returns:
            For each image a decision, or None where all its survivors stay as they are.
        """
        ...


class SpuPruner:
    """Spectrum Pruning Unit: keeps the survivors of highest score, as many as the schedule says.

    Before the first layer it takes the selection that an image came with, if any.
    """

    def __init__(
        self,
        spu: SpuSettings,
        images: Sequence[VisionTokens],
        counts: Sequence[Sequence[int]],
    ) -> None:
        """Prepare to prune one request.

        Args:
            spu: how tokens are scored.
            images: all images of the request.
            counts: for each image, how many of its tokens enter each layer.
        """
        self._spu = spu
        self._images = images
        self._counts = counts

    def decide(
        self, layer: int, hidden: Tensor, rotary: Rotary, survivors: Sequence[SurvivingTokens]
    ) -> list[PruningDecision | None]:
        """Choose which visual tokens enter `layer`, as `Pruner.decide` says.

        Args:
            layer: counts from 0.
            hidden: [length, hidden].
            rotary: not used.
            survivors: for each image, the tokens still in the sequence.
        """
        decisions: list[PruningDecision | None] = []
        for image, tokens, counts in zip(self._images, survivors, self._counts, strict=True):
            if layer == 0 and image.selection is not None:
                decisions.append(_encoder_selection(image, hidden.device))
            else:
                decisions.append(self._highest_scores(image, tokens, counts[layer], hidden))
        return decisions

    def _highest_scores(
        self, image: VisionTokens, tokens: SurvivingTokens, count: int, hidden: Tensor
    ) -> PruningDecision | None:
        if count >= len(tokens.rows):
            return None
        if count == 0:
            return PruningDecision(tokens.rows[:0])
        rows = hidden[tokens.rows]
        scores = image_scores(rows, tokens.indices, image.pieces, self._spu)
        best = top_indices(scores, count)
        if not self._spu.proportional_attention:
            return PruningDecision(best)
        counts = tokens.counts
        if counts is None:
            counts = torch.ones(len(rows), device=rows.device)
        return PruningDecision(best, absorb_pruned_counts(rows, best, counts)[best])


def _encoder_selection(image: VisionTokens, device: torch.device) -> PruningDecision:
    """Keep the tokens that the encoder selected: no others came."""
    assert image.selection is not None
    indices, counts = image.selection.indices, image.selection.counts
    return PruningDecision(
        indices.to(device), None if counts is None else counts.float().to(device)
    )
