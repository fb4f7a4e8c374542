"""Square blocks of a token grid; a projector makes one token of each block."""

from collections.abc import Callable

import torch
from torch import Tensor

from luvc_core.compression.algorithms.token_grid import TokenGrid


def to_blocks(x: Tensor, side: int) -> Tensor:
    """Cut a grid into blocks, in raster order.

    [frames, rows, columns, dim] -> [frames, blocks, tokens of a block, dim]
    """
    frames, rows, columns, dim = x.shape
    blocks = x.reshape(frames, rows // side, side, columns // side, side, dim)
    return blocks.transpose(2, 3).reshape(frames, -1, side**2, dim)


def from_blocks(x: Tensor, rows: int, columns: int, side: int) -> Tensor:
    """Put the tokens of blocks back into their grid: [frames, rows, columns, dim].

    Args:
        x: [frames, tokens block by block, dim].
        rows: of the grid.
        columns: of the grid.
        side: rows and columns of a block.
    """
    blocks = x.view(x.shape[0], rows // side, columns // side, side, side, x.shape[2])
    return blocks.transpose(2, 3).reshape(x.shape[0], rows, columns, x.shape[2])


def project_blocks(
    state: TokenGrid, side: int, source: tuple[int, int], project: Callable[[Tensor], Tensor]
) -> TokenGrid:
    """Make one token of each block; its size and position count in blocks of the source.

    Args:
        state: the grid that the tower's last block leaves.
        side: rows and columns of a block.
        source: rows and columns of blocks before merging.
        project: [frames, blocks, tokens of a block, dim] -> [frames, blocks, hidden], or the same
            flattened.
    """
    frames, rows, columns = state.sizes.shape[0], state.rows // side, state.columns // side
    weights = to_blocks(state.sizes.unsqueeze(-1), side)
    positions = (to_blocks(state.positions, side) * weights).sum(2) / weights.sum(2)
    # Block 0 is centred on token (side - 1) / 2. What lies nearer to the edge than an outermost
    # centre counts as being there.
    positions = (positions - (side - 1) / 2) / side
    last = torch.tensor(source, device=positions.device) - 1
    positions = positions.clamp(min=torch.zeros_like(last), max=last)
    return TokenGrid(
        project(to_blocks(state.hidden, side)).view(frames, rows, columns, -1),
        weights.sum(2).view(frames, rows, columns) / side**2,
        positions.view(frames, rows, columns, 2),
    )
