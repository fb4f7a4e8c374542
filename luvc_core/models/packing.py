"""Grids of visual tokens put in a row, with newlines where the model wants them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from luvc_core.algorithms.merging import TokenGrid
from luvc_core.config import OimSettings
from luvc_core.tokens import ClipFrames, Grid, Identity, Piece, Separators, VisionTokens

# A piece, and the embeddings, positions and sizes of its tokens.
Packed = tuple[Piece, tuple[Tensor, Tensor, Tensor]]


def pack(state: TokenGrid, source: Grid, ends: Separators, newline: Tensor) -> Packed:
    """A piece with its newlines. source: the grid it has unmerged. newline: [hidden]"""
    piece = Piece(Grid(source.frames, state.rows, state.columns), source, ends)
    frame = torch.arange(source.frames, device=state.positions.device).float()
    places = F.pad(state.positions, (1, 0))
    places[..., 0] = frame.view(-1, 1, 1)
    hidden = state.hidden
    sizes = state.sizes * (source.token_count / state.sizes.sum())
    lines = {"none": 0, "row": state.rows, "piece": 1}[ends]
    if lines:
        length = piece.line_length
        # A newline stands where its row does, one column past the last of the source.
        end = places.view(-1, state.columns, 3)[-lines:].mean(1)
        end[:, 2] = source.columns
        hidden = hidden.reshape(lines, length, -1)
        hidden = torch.cat((hidden, newline.expand(lines, 1, -1)), dim=1)
        places = torch.cat((places.reshape(lines, length, 3), end.unsqueeze(1)), dim=1)
        sizes = F.pad(sizes.reshape(lines, length), (0, 1))
    return piece, (hidden.reshape(-1, hidden.shape[-1]), places.reshape(-1, 3), sizes.flatten())


def in_a_row(
    packed: Sequence[Packed], identity: Identity, oim: OimSettings, clip: ClipFrames | None
) -> VisionTokens:
    """The pieces of one picture or clip, on the CPU."""
    embeddings, positions, sizes = (
        torch.cat([part[i] for _, part in packed]).cpu() for i in range(3)
    )
    return VisionTokens(
        embeddings=embeddings,
        pieces=tuple(piece for piece, _ in packed),
        positions=positions,
        sizes=sizes,
        identity=identity,
        merge_sha256=oim.sha256,
        source_positions=oim.llm_position == "source" and not oim.is_off,
        clip=clip,
    )
