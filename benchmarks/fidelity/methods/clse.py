"""CLSE (ECCV 2026), without attention: tokens stay whose high frequencies a layer changes most.

S is the mean magnitude over channels of what a Gaussian high-pass leaves of an image's grid, at the
inputs of two adjacent layers; importance is clip(|S1 - S0| / (S0 + mean S0), 0, 1). One shot,
early: before layer 2 of 28, at its share of the depth, and no earlier than layer 1. The radius is
0.1 cycles a token. Separators, which stand in no grid, are 0 and leave first.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.fidelity.matching import Stages, one_shot, scaled
from benchmarks.fidelity.methods.base import Method, StagedPruner, WatchingPruner
from benchmarks.fidelity.question import Question
from luvc_core.compression.algorithms.frequency_scores import top_indices
from luvc_core.engine.pruner import PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary
from luvc_core.visual_tokens.vision_tokens import VisionTokens

_RADIUS = 0.1


class Clse(Method):
    """Prune by the change of high frequencies."""

    name = "clse"

    def pruner(self, question: Question, target: float) -> StagedPruner:
        wanted = scaled(2, 28, question.layer_count)
        stages = one_shot(question.layer_count, wanted=wanted, least=1, target=target)
        return _Pruner(question, stages)


class _Pruner(WatchingPruner):
    def __init__(self, question: Question, stages: Stages) -> None:
        super().__init__(question, stages)
        self._images = question.plain

    def choose(
        self,
        layer: int,
        hidden: Tensor,
        rotary: Rotary,
        survivors: Sequence[SurvivingTokens],
        count: int,
    ) -> PruningDecision:
        scores = [
            importance(sharpness(self.layer_input.hidden[tokens.rows], image),
                       sharpness(hidden[tokens.rows], image))
            for tokens, image in zip(survivors, self._images, strict=True)
        ]  # fmt: skip
        return PruningDecision(top_indices(torch.cat(scores), count))


def importance(before: Tensor, after: Tensor) -> Tensor:
    """Return the importance of an image's tokens in [0, 1], of S0 and S1: [tokens] each."""
    return ((after - before).abs() / (before + before.mean()).clamp(min=1e-12)).clamp(0, 1)


def sharpness(hidden: Tensor, image: VisionTokens) -> Tensor:
    """Return S of all tokens of an image, float32 [tokens]. hidden: [tokens, dim]."""
    scores = []
    for piece_hidden, piece in zip(
        torch.split(hidden, [piece.token_count for piece in image.pieces]),
        image.pieces,
        strict=True,
    ):
        found = piece_hidden.new_zeros(len(piece_hidden), dtype=torch.float32)
        shows = torch.ones(len(piece_hidden), dtype=torch.bool, device=piece_hidden.device)
        if piece.separators != "none":
            shows[piece.line_length :: piece.line_length + 1] = False
        grid = piece_hidden[shows].view(piece.grid.frames, piece.grid.rows, piece.grid.columns, -1)
        found[shows] = high_pass(grid.float()).abs().mean(dim=-1).flatten()
        scores.append(found)
    return torch.cat(scores)


def high_pass(x: Tensor, radius: float = _RADIUS) -> Tensor:
    """Take low frequencies out of each channel of each frame: 1 - exp(-f^2 / (2 radius^2)).

    Args:
        x: float32 [frames, rows, columns, dim].
        radius: in cycles a token.
    """
    down = torch.fft.fftfreq(x.shape[1], device=x.device).view(-1, 1, 1)
    across = torch.fft.fftfreq(x.shape[2], device=x.device).view(-1, 1)
    gain = 1 - torch.exp(-(down.square() + across.square()) / (2 * radius**2))
    filtered: Tensor = torch.fft.ifft2(torch.fft.fft2(x, dim=(1, 2)) * gain, dim=(1, 2)).real
    return filtered
