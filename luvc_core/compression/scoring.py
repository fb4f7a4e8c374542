"""Scores of an image's visual tokens, whatever grids and separators the image is made of."""

from collections.abc import Sequence
from dataclasses import astuple

import torch
from torch import Tensor

from luvc_core.compression.algorithms.frequency_scores import squared_length, token_scores
from luvc_core.compression.settings import SpuSettings
from luvc_core.visual_tokens.vision_tokens import Piece


def image_scores(
    hidden: Tensor, indices: Tensor, pieces: Sequence[Piece], spu: SpuSettings
) -> Tensor:
    """Score how much each surviving token of an image deserves to stay.

    Each piece is filtered by itself, and so is each tile on the axis `grid`. A separator is not
    filtered: it scores the mean of the survivors of its line, 0 if there are none, and so leaves
    about when its line does.

    The last two tokens of a grid differ equally from their mean, so that rounding would decide
    between them. Therefore a token's length raises its score, by a thousandth at most.

    Args:
        hidden: [survivors, dim].
        indices: int64 [survivors], ascending, which of the image's tokens they are.
        pieces: of the image, before any pruning.
        spu: what is measured.

    Returns:
        float32 [survivors], to be compared over the whole image.
    """
    length = squared_length(hidden).sqrt()
    return _scores(hidden, indices, pieces, spu) * (1 + 1e-3 * length / length.max())


def _scores(hidden: Tensor, indices: Tensor, pieces: Sequence[Piece], spu: SpuSettings) -> Tensor:
    if len(pieces) == 1 and pieces[0].separators == "none":
        return _grid_scores(hidden, indices, pieces[0], spu)
    ends = torch.tensor([piece.token_count for piece in pieces]).cumsum(0)
    counts = torch.searchsorted(indices, ends.to(indices.device)).diff(prepend=indices.new_zeros(1))
    split = counts.tolist()
    per_piece = zip(torch.split(hidden, split), torch.split(indices, split), pieces, strict=True)
    scores = [
        _piece_scores(piece_hidden, piece_indices - start, piece, spu)
        for (piece_hidden, piece_indices, piece), start in zip(
            per_piece, [0, *ends.tolist()], strict=False
        )
    ]
    return torch.cat(scores)


def _piece_scores(hidden: Tensor, indices: Tensor, piece: Piece, spu: SpuSettings) -> Tensor:
    """Score the survivors of one piece, separators included: float32 [survivors]."""
    if piece.separators == "none":
        return _grid_scores(hidden, indices, piece, spu)
    length = piece.line_length
    line = indices // (length + 1)
    is_separator = indices % (length + 1) == length
    raster = (indices - line)[~is_separator]
    grid_scores = _grid_scores(hidden[~is_separator], raster, piece, spu)
    # Scores, and ones to count survivors, spread over the whole grid.
    spread = grid_scores.new_zeros(2, piece.grid.token_count)
    spread[0, raster], spread[1, raster] = grid_scores, 1.0
    total, survivors = spread.view(2, -1, length).sum(dim=2)
    scores: Tensor = (total / survivors.clamp(min=1))[line]
    scores[~is_separator] = grid_scores
    return scores


def _grid_scores(hidden: Tensor, indices: Tensor, piece: Piece, spu: SpuSettings) -> Tensor:
    if len(indices) == 0:
        return hidden.new_zeros(0, dtype=torch.float32)
    return token_scores(hidden, indices, astuple(piece.grid), spu.scoring)
