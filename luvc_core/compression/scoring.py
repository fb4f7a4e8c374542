"""How much each token of a picture deserves to stay, whatever the picture is made of."""

from collections.abc import Sequence
from dataclasses import astuple

import torch
from torch import Tensor

from luvc_core.compression.algorithms.frequency_scores import energy, squared_length
from luvc_core.compression.settings import SpuSettings
from luvc_core.visual_tokens.vision_tokens import Piece


def image_energy(
    hidden: Tensor, places: Tensor, pieces: Sequence[Piece], spu: SpuSettings
) -> Tensor:
    """float32 [tokens], to be compared over the whole picture.

    hidden: [tokens, dim], the picture's tokens still there. places: int64 [tokens], which ones they
    are, ascending. Each piece has a spectrum of its own, and so has each tile on the axis `grid`. A
    separator is in no spectrum: it scores the mean of what is left of its line, 0 if nothing is,
    and so leaves about when its line does.

    The last two tokens of a spectrum depart from their mean alike, so that rounding would decide:
    by a thousandth, the longer one scores higher.
    """
    length = squared_length(hidden).sqrt()
    return _energy(hidden, places, pieces, spu) * (1 + 1e-3 * length / length.max())


def _energy(hidden: Tensor, places: Tensor, pieces: Sequence[Piece], spu: SpuSettings) -> Tensor:
    if len(pieces) == 1 and pieces[0].separators == "none":
        return _grid_energy(hidden, places, pieces[0], spu)
    ends = torch.tensor([piece.token_count for piece in pieces]).cumsum(0)
    lengths = torch.searchsorted(places, ends.to(places.device)).diff(prepend=places.new_zeros(1))
    shares = lengths.tolist()
    owned = zip(torch.split(hidden, shares), torch.split(places, shares), pieces, strict=True)
    scores = [
        _piece_energy(own, own_places - start, piece, spu)
        for (own, own_places, piece), start in zip(owned, [0, *ends.tolist()], strict=False)
    ]
    return torch.cat(scores)


def _piece_energy(hidden: Tensor, places: Tensor, piece: Piece, spu: SpuSettings) -> Tensor:
    """float32 [tokens], for those of one piece, separators included."""
    if piece.separators == "none":
        return _grid_energy(hidden, places, piece, spu)
    length = piece.line_length
    line = places // (length + 1)
    separates = places % (length + 1) == length
    raster = (places - line)[~separates]
    found = _grid_energy(hidden[~separates], raster, piece, spu)
    lines = found.new_zeros(2, piece.grid.token_count)
    lines[0, raster], lines[1, raster] = found, 1.0
    total, left = lines.view(2, -1, length).sum(dim=2)
    scores: Tensor = (total / left.clamp(min=1))[line]
    scores[~separates] = found
    return scores


def _grid_energy(hidden: Tensor, places: Tensor, piece: Piece, spu: SpuSettings) -> Tensor:
    if len(places) == 0:
        return hidden.new_zeros(0, dtype=torch.float32)
    return energy(
        hidden,
        places,
        astuple(piece.grid),
        score=spu.score,
        cutoff=spu.cutoff,
        axis=spu.axis,
        sampling=spu.sampling,
        normalize=spu.normalize,
    )
