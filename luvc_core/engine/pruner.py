"""Which visual tokens stay: what prefill asks before each layer, and SPU, the product's answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from luvc_core.compression.algorithms.frequency_scores import keep_top
from luvc_core.compression.algorithms.proportional_attention import absorb_pruned_counts
from luvc_core.compression.scoring import image_energy
from luvc_core.compression.settings import SpuSettings
from luvc_core.models.base import Rotary
from luvc_core.visual_tokens.vision_tokens import VisionTokens


@dataclass
class SurvivingTokens:
    """What is left of one picture, which may stand in several runs with text between them.

    rows: int64 [tokens], where in the sequence. places: int64 [tokens], which of the picture's
    tokens they are. Both ascending. counts: float32 [tokens], how many of the picture's tokens each
    stands for in attention; None for one each.
    """

    rows: Tensor
    places: Tensor
    counts: Tensor | None = None


class Pruner(Protocol):
    """Chooses which visual tokens of one request stay. Made anew for each request, so it may
    remember what it saw before earlier layers."""

    def keep(
        self, layer: int, hidden: Tensor, rotary: Rotary, left: Sequence[SurvivingTokens]
    ) -> Sequence[Tensor | None]:
        """For each picture, which of what is left of it enters `layer`: int64, ascending places in
        `rows`; None for all.

        Called once before every layer, from 0 on. hidden: [length, hidden], what goes in if all
        stay; it may be written to, as where tokens that leave merge into some that stay, and so may
        the `counts` of what is left. rotary: of all rows. What stays keeps its rotary position.
        """
        ...


class SpuPruner:
    """Spectrum Pruning Unit: those of highest energy. What enters the first layer, the sender may
    have chosen already.

    counts: for each picture, how many of its tokens enter each layer.
    """

    def __init__(
        self,
        spu: SpuSettings,
        images: Sequence[VisionTokens],
        counts: Sequence[Sequence[int]],
    ) -> None:
        self._spu = spu
        self._images = images
        self._counts = counts

    def keep(
        self, layer: int, hidden: Tensor, rotary: Rotary, left: Sequence[SurvivingTokens]
    ) -> list[Tensor | None]:
        kept: list[Tensor | None] = []
        for own, counts, image in zip(left, self._counts, self._images, strict=True):
            count = counts[layer]
            if layer == 0 and image.selection is not None:
                kept.append(image.selection.indices.to(hidden.device))
                spread = image.selection.counts_of_all(image.token_count)
                own.counts = None if spread is None else spread.to(hidden.device)
            elif count >= len(own.rows):
                kept.append(None)
            elif count == 0:
                kept.append(own.rows[:0])
            else:
                rows = hidden[own.rows]
                best = keep_top(image_energy(rows, own.places, image.pieces, self._spu), count)
                if self._spu.proportional_attention:
                    ones = torch.ones(len(rows), device=rows.device)
                    own.counts = absorb_pruned_counts(
                        rows, best, ones if own.counts is None else own.counts
                    )
                kept.append(best)
        return kept
