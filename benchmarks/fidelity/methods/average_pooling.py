"""Average pooling of the projected tokens to a smaller grid, each at the mean of its positions.

Each frame or tile by itself; where sides do not divide, cells overlap as in adaptive pooling.
"""

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.fidelity.matching import smaller_grid
from benchmarks.fidelity.methods.base import Method
from benchmarks.fidelity.question import Question
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, VisionTokens


class AveragePooling(Method):
    """Pool the tokens before the LLM."""

    name = "pooling"

    def visual(self, question: Question, target: float) -> list[VisionTokens]:
        key = (self.name, target)
        return question.once(key, lambda: [pooled(tokens, target) for tokens in question.plain])


def pooled(tokens: VisionTokens, target: float) -> VisionTokens:
    """Pool to about the share `target` of the tokens; separators stay at the ends of lines."""
    shares = [piece.token_count for piece in tokens.pieces]
    embeddings, positions, sizes, pieces = [], [], [], []
    for piece, hidden, places in zip(
        tokens.pieces,
        torch.split(tokens.embeddings, shares),
        torch.split(tokens.positions, shares),
        strict=True,
    ):
        grid = piece.grid
        ending = int(piece.separators == "row")
        rows, columns = smaller_grid(grid.rows, grid.columns, target, ending)
        smaller = Piece(Grid(grid.frames, rows, columns), piece.source_grid, piece.separators)
        pieces.append(smaller)
        embeddings.append(_pool(hidden, piece, smaller))
        positions.append(_pool(places, piece, smaller))
        size = piece.source_grid.token_count / smaller.grid.token_count
        sizes.append(_with_separators(torch.full((smaller.grid.token_count, 1), size),
                                      torch.zeros(1, 1), smaller).squeeze(1))  # fmt: skip
    return dataclasses.replace(
        tokens,
        embeddings=torch.cat(embeddings),
        positions=torch.cat(positions),
        sizes=torch.cat(sizes),
        pieces=tuple(pieces),
        source_positions=True,
    )


def _pool(x: Tensor, piece: Piece, smaller: Piece) -> Tensor:
    """Pool a piece. x: [tokens, dim], separators included, as in the result."""
    grid = piece.grid
    ends = x[:0]
    if piece.separators != "none":
        lines = x.view(-1, piece.line_length + 1, x.shape[1])
        x, ends = lines[:, :-1].flatten(0, 1), lines[:, -1]
    planes = x.view(grid.frames, grid.rows, grid.columns, -1).movedim(-1, 1)
    target = (smaller.grid.rows, smaller.grid.columns)
    shown = F.adaptive_avg_pool2d(planes.float(), target).movedim(1, -1).flatten(0, 2).to(x.dtype)
    if piece.separators == "row":
        # One ending a line; those of the source lines that a line is made of, evenly spread.
        by_frame = ends.view(grid.frames, grid.rows, -1).movedim(-1, 1).float()
        ends = F.adaptive_avg_pool1d(by_frame, target[0]).movedim(1, -1).flatten(0, 1).to(x.dtype)
    return _with_separators(shown, ends, smaller)


def _with_separators(shown: Tensor, ends: Tensor, piece: Piece) -> Tensor:
    """Put separators back at the ends of lines: [grid tokens, dim] -> [tokens, dim].

    Args:
        shown: [grid tokens, dim].
        ends: one for each line, or one for all.
        piece: says where separators stand.
    """
    if piece.separators == "none":
        return shown
    lines = shown.reshape(-1, piece.line_length, shown.shape[1])
    ends = ends.expand(len(lines), -1).unsqueeze(1)
    return torch.cat((lines, ends), dim=1).flatten(0, 1)
