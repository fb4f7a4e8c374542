"""LLaVA's anyres: join tiles, cut off the padding, shrink the rest, append newlines."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from luvc_core.compression.algorithms.token_grid import TokenGrid


def take_frames(state: TokenGrid, start: int, stop: int | None = None) -> TokenGrid:
    """Return frames `start` to `stop` of a grid, as views.

    Args:
        state: of any number of frames.
        start: first frame.
        stop: frame after the last; None for the end.
    """
    taken = slice(start, stop)
    return TokenGrid(state.hidden[taken], state.sizes[taken], state.positions[taken])


def join_tiles(tiles: TokenGrid, canvas: tuple[int, int], side: int) -> TokenGrid:
    """Join tiles in raster order to one frame, whose positions count over the whole canvas.

    Args:
        tiles: one frame per tile.
        canvas: rows and columns of tiles.
        side: of a tile before merging, in tokens.
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
    """Cut off the rows or columns that are padding only.

    The image is in the middle of the canvas and fills it in one direction. Merging takes more from
    the uniform padding than from the image, so the padding that is left is found by position and
    not by share: a row or column is cut off where none of its tokens lies in the image.

    Args:
        state: one frame, the canvas.
        rows: of the canvas before merging.
        columns: of the canvas before merging.
        size: height and width of the image in pixels.

    Returns:
        The frame without padding, and rows and columns of the image before merging.
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
    positions = (inside(state.positions) - corner).clamp(min=torch.zeros_like(last), max=last)
    return TokenGrid(inside(state.hidden), inside(state.sizes), positions), rows, columns


def _lines_inside(positions: Tensor, start: int, stop: int) -> Tensor:
    """Find the lines (rows or columns) that have a token in the image: bool [lines].

    positions: [lines, tokens], across the lines. At least one line is found where there is an
    image: merging may leave no token inside an image that is very thin.
    """
    inside = ((positions > start - 1) & (positions < stop)).any(dim=1)
    if start < stop and not inside.any():
        inside[(positions.mean(dim=1) - (start + stop - 1) / 2).abs().argmin()] = True
    return inside


def shrink(
    state: TokenGrid, target: tuple[int, int], source: tuple[int, int], smaller: tuple[int, int]
) -> TokenGrid:
    """Resize a grid bilinearly.

    Args:
        state: the grid.
        target: rows and columns to resize it to.
        source: rows and columns of the grid that its positions count in.
        smaller: rows and columns of the grid that the new positions count in.
    """

    def resized(x: Tensor) -> Tensor:
        planes = x.movedim(-1, 1)
        if planes.shape[2:] == target:
            return x
        return F.interpolate(planes, target, mode="bilinear").movedim(1, -1)

    positions = resized(state.positions)
    if smaller != source:
        sides = torch.tensor(smaller, device=positions.device)
        scale = sides / torch.tensor(source, device=positions.device)
        last = sides - 1
        positions = ((positions + 0.5) * scale - 0.5).clamp(min=torch.zeros_like(last), max=last)
    sizes = resized(state.sizes.unsqueeze(-1)).squeeze(-1)
    return TokenGrid(resized(state.hidden), sizes, positions)


def fit_sides(rows: int, columns: int, max_tokens: int) -> tuple[int, int]:
    """Return the sides of a grid so that it has about `max_tokens` tokens at most.

    As in stock code, sides that are up to a tenth too long stay.

    Args:
        rows: of the grid.
        columns: of the grid.
        max_tokens: number of tokens to reach.
    """
    ratio = math.sqrt(rows * columns / max_tokens)
    return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


def append_newlines(
    state: TokenGrid, lines: int, newline: Tensor, column: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Flatten all frames to one sequence with newline tokens in it.

    A newline has size 0. Its frame and row are the mean of those in the last row before it.

    Args:
        state: the frames.
        lines: number of newlines: 0, one per row, or 1 for all rows together.
        newline: [dim], the embedding of a newline.
        column: position of a newline on the column axis.

    Returns:
        Embeddings [tokens, dim], positions [tokens, 3] and sizes [tokens].
    """
    frame = torch.arange(len(state.hidden), device=state.positions.device).float()
    frame = frame.view(-1, 1, 1, 1).expand(*state.sizes.shape, 1)
    positions = torch.cat((frame, state.positions), dim=-1).flatten(0, 1)
    hidden, sizes = state.hidden.flatten(0, 1), state.sizes.flatten(0, 1)
    if lines:
        ends = positions[-lines:].mean(1)
        ends[:, 2] = column
        hidden, positions = (x.reshape(lines, -1, x.shape[-1]) for x in (hidden, positions))
        hidden = torch.cat((hidden, newline.expand(lines, 1, -1)), dim=1)
        positions = torch.cat((positions, ends.unsqueeze(1)), dim=1)
        sizes = F.pad(sizes.reshape(lines, -1), (0, 1))
    return hidden.flatten(0, 1), positions.flatten(0, 1), sizes.flatten()
