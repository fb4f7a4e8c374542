"""Tiles joined to one large raster, its padding cut off, the rest made smaller, its lines ended."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from luvc_core.compression.algorithms.token_grid import TokenGrid


def frames(state: TokenGrid, start: int, stop: int | None = None) -> TokenGrid:
    """Some of the frames, as views."""
    own = slice(start, stop)
    return TokenGrid(state.hidden[own], state.sizes[own], state.positions[own])


def join_tiles(tiles: TokenGrid, canvas: tuple[int, int], side: int) -> TokenGrid:
    """One frame from tiles in raster order on a canvas of that many rows and columns of them.

    side: of a tile before merging. Positions count over the whole canvas.
    """
    down, across = (torch.arange(n, device=tiles.hidden.device) * side for n in canvas)
    corners = torch.cartesian_prod(down, across).view(-1, 1, 1, 2)

    def joined(x: Tensor) -> Tensor:
        whole = x.reshape(*canvas, *x.shape[1:]).transpose(1, 2)
        return whole.flatten(2, 3).flatten(0, 1).unsqueeze(0)

    return TokenGrid(joined(tiles.hidden), joined(tiles.sizes), joined(tiles.positions + corners))


def unpad(
    state: TokenGrid, rows: int, columns: int, size: tuple[int, int]
) -> tuple[TokenGrid, int, int]:
    """Without the rows or columns that show nothing of a picture of `size` (height, width), which
    stands in the middle of the canvas and fills it one way.

    rows, columns: of the canvas before merging. Returns those of the picture before merging too.
    Merging takes more from the flat padding than from the picture, so what is left of it is told
    by position and not by share: a line goes where none of its tokens stands in the picture.
    """
    height, width = size
    top = left = 0
    if width / height > columns / rows:
        top = (rows - int(round(height * (columns / width), 7))) // 2
    else:
        left = (columns - int(round(width * (rows / height), 7))) // 2
    row, column = state.positions[0].unbind(-1)
    inside_rows = _lines_inside(row, top, rows - top)
    inside_columns = _lines_inside(column.T, left, columns - left)

    def inside(x: Tensor) -> Tensor:
        return x[:, inside_rows][:, :, inside_columns]

    rows, columns = rows - 2 * top, columns - 2 * left
    corner = torch.tensor([top, left], device=row.device)
    last = torch.tensor([rows - 1, columns - 1], device=row.device)
    places = (inside(state.positions) - corner).clamp(min=torch.zeros_like(last), max=last)
    return TokenGrid(inside(state.hidden), inside(state.sizes), places), rows, columns


def _lines_inside(places: Tensor, start: int, stop: int) -> Tensor:
    """bool [lines]: those with a token in the picture. places: [lines, tokens], across the lines.

    Never none where there is an image: one thinner than what merges would leave no line.
    """
    inside = ((places > start - 1) & (places < stop)).any(dim=1)
    if start < stop and not inside.any():
        inside[(places.mean(dim=1) - (start + stop - 1) / 2).abs().argmin()] = True
    return inside


def shrink(
    state: TokenGrid, target: tuple[int, int], source: tuple[int, int], smaller: tuple[int, int]
) -> TokenGrid:
    """Bilinear, to the target (rows, columns). Positions in a source grid come out as positions in
    a smaller one."""

    def resized(x: Tensor) -> Tensor:
        planes = x.movedim(-1, 1)
        if planes.shape[2:] == target:
            return x
        return F.interpolate(planes, target, mode="bilinear").movedim(1, -1)

    places = resized(state.positions)
    if smaller != source:
        scale = torch.tensor(smaller, device=places.device) / torch.tensor(
            source, device=places.device
        )
        last = torch.tensor(smaller, device=places.device) - 1
        places = ((places + 0.5) * scale - 0.5).clamp(min=torch.zeros_like(last), max=last)
    sizes = resized(state.sizes.unsqueeze(-1)).squeeze(-1)
    return TokenGrid(resized(state.hidden), sizes, places)


def fitted(rows: int, columns: int, most: int) -> tuple[int, int]:
    """The sides of a grid that is to have about `most` tokens at most; a little more is let be."""
    ratio = math.sqrt(rows * columns / most)
    return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


def end_lines(
    state: TokenGrid, lines: int, ending: Tensor, column: int
) -> tuple[Tensor, Tensor, Tensor]:
    """All frames as a sequence, the last `lines` rows with an ending [dim] after them: embeddings
    [tokens, dim], positions [tokens, 3] and sizes [tokens].

    lines: none, all rows, or one ending for all of them. column: where an ending stands, in the
    row that its own are in on average. Its size is 0.
    """
    frame = torch.arange(len(state.hidden), device=state.positions.device).float()
    frame = frame.view(-1, 1, 1, 1).expand(*state.sizes.shape, 1)
    places = torch.cat((frame, state.positions), dim=-1).flatten(0, 1)
    hidden, sizes = state.hidden.flatten(0, 1), state.sizes.flatten(0, 1)
    if lines:
        ends = places[-lines:].mean(1)
        ends[:, 2] = column
        hidden, places = (x.reshape(lines, -1, x.shape[-1]) for x in (hidden, places))
        hidden = torch.cat((hidden, ending.expand(lines, 1, -1)), dim=1)
        places = torch.cat((places, ends.unsqueeze(1)), dim=1)
        sizes = F.pad(sizes.reshape(lines, -1), (0, 1))
    return hidden.flatten(0, 1), places.flatten(0, 1), sizes.flatten()
