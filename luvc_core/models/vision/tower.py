"""Running a vision tower with merging between its blocks, as all families do."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from luvc_core.compression.algorithms.merge_targets import plan_targets
from luvc_core.compression.algorithms.merging import merge_grid
from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.compression.settings import OimSettings
from luvc_core.errors import InvalidSettings
from luvc_core.models.base import Patches
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, VideoFrames, VisionTokens

_MAX_BATCH_FRAMES = 16

# Runs one block over [frames, tokens, dim] with a bias [frames, 1, 1, tokens] on its attention
# logits. Returns the new hidden states, and the mean of the attention keys over heads, [frames,
# tokens, head size], before any rotation, so that they depend on content and not on position.
Block = Callable[[Any, Tensor, Tensor | None], tuple[Tensor, Tensor]]


class MergePlan:
    """The grid to merge to after each block of a tower."""

    def __init__(
        self, oim: OimSettings, rows: int, columns: int, *, depth: int, multiple: int
    ) -> None:
        """Plan the merging of one grid.

        Args:
            oim: how much to merge, and after which shares of the depth.
            rows: of the tokens that enter the tower.
            columns: of the tokens that enter the tower.
            depth: number of blocks of the tower.
            multiple: the projector needs both sides to be multiples of it.

        Raises:
            InvalidSettings: where so few blocks cannot merge down to the share that is kept.
        """
        self._oim = oim
        self._targets: dict[int, tuple[int, int]] = {}
        if oim.is_off:
            return
        # In a shallow tower several shares of the depth may be the same block.
        blocks = sorted({int(share * depth) for share in oim.blocks})
        # Each block merges a side to half at most.
        min_keep = 0.5 ** len(blocks)
        for name, keep in (("keep_rows", oim.keep_rows), ("keep_columns", oim.keep_columns)):
            if keep < min_keep:
                problem = f"got {keep:g}, but oim.blocks are {len(blocks)} of this tower's {depth}"
                raise InvalidSettings(f"oim.{name}", problem, f"[{min_keep:g}, 1]")
        plan = plan_targets(rows, columns, oim.keep_rows, oim.keep_columns, len(blocks), multiple)
        self._targets = dict(zip(blocks, plan, strict=True))

    def merges_after(self, block: int) -> bool:
        """Tell whether tokens merge after a block."""
        return block in self._targets

    def merge(self, block: int, state: TokenGrid, keys: Tensor) -> TokenGrid:
        """Merge after a block.

        Args:
            block: index of the block.
            state: the grid that left it.
            keys: [frames, tokens, dim], its mean attention keys.
        """
        metric = keys.view(*state.sizes.shape, -1) if self._oim.metric == "keys" else state.hidden
        return _merge(state, self._targets[block], metric, self._oim)

    def bias(self, state: TokenGrid) -> Tensor | None:
        """Return the bias of proportional attention on logits, [frames, 1, 1, tokens], or None."""
        if not self._oim.proportional_attention:
            return None
        return state.sizes.flatten(1)[:, None, None].log().to(state.hidden.dtype)


def merge_rest(state: TokenGrid, oim: OimSettings, source: tuple[int, int]) -> TokenGrid:
    """Merge further, down to the share of the source grid that the settings keep.

    In the tower padding merges instead of the image, and is cut off afterwards. Without this step
    more tokens of the image would be left, the more padding it had.

    Args:
        state: the grid without padding.
        oim: the settings.
        source: rows and columns of the grid before merging.
    """
    rows, columns = plan_targets(*source, oim.keep_rows, oim.keep_columns, len(oim.blocks), 1)[-1]
    target = min(rows, state.rows), min(columns, state.columns)
    return _merge(state, target, state.hidden, oim)


def _merge(
    state: TokenGrid, target: tuple[int, int], metric: Tensor, oim: OimSettings
) -> TokenGrid:
    return merge_grid(
        state,
        *target,
        metric,
        window=oim.window,
        alignment=oim.alignment,
        position=oim.position,
    )


def run_blocks(
    modules: Sequence[Any],
    block: Block,
    state: TokenGrid,
    plan: MergePlan,
    prefix: Tensor | None = None,
) -> TokenGrid:
    """Run all blocks of a tower whose positions are part of its embeddings.

    Args:
        modules: the blocks.
        block: runs one of them.
        state: the embedded grid.
        plan: what merges after which block.
        prefix: [frames, tokens, dim] that attends and is attended to but never merges, such as a
            CLS token.

    Returns:
        The merged grid, without the prefix.
    """
    prefix_length = 0 if prefix is None else prefix.shape[1]
    bias = None
    for index, module in enumerate(modules):
        tokens = state.hidden.flatten(1, 2)
        tokens = tokens if prefix is None else torch.cat((prefix, tokens), dim=1)
        tokens, keys = block(module, tokens, bias)
        prefix = tokens[:, :prefix_length]
        hidden = tokens[:, prefix_length:].reshape(state.hidden.shape)
        state = dataclasses.replace(state, hidden=hidden)
        if plan.merges_after(index):
            state = plan.merge(index, state, keys[:, prefix_length:])
            bias = plan.bias(state)
            bias = None if bias is None else F.pad(bias, (prefix_length, 0))
    return state


def clip_block(layer: Any, hidden: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run one block of a tower of CLIP's kind, such as SigLIP; see Block.

    Args:
        layer: of transformers.
        hidden: [frames, tokens, dim].
        bias: [frames, 1, 1, tokens] added to the attention logits, or None.
    """
    attention, x = layer.self_attn, layer.layer_norm1(hidden)
    queries, keys, values = (
        project(x).unflatten(-1, (attention.num_heads, -1))
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mixed = F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=bias
    )
    hidden = hidden + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return hidden + layer.mlp(layer.layer_norm2(hidden)), keys.mean(2)


def run_tiles(patches: Sequence[Patches], run: Callable[[Tensor], TokenGrid]) -> list[TokenGrid]:
    """Run the tiles of all images and videos in shared batches; return one grid for each.

    Tiles are the frames of a grid. `run` makes one frame of each of [tiles, channels, height,
    width].
    """
    if not patches:
        return []
    whole = run_parts(torch.cat([p.pixels for p in patches]), run)
    counts = [p.grid.frames for p in patches]
    split = (torch.split(getattr(whole, f.name), counts) for f in dataclasses.fields(TokenGrid))
    return [TokenGrid(*parts) for parts in zip(*split, strict=True)]


def run_parts(pixels: Tensor, run: Callable[[Tensor], TokenGrid]) -> TokenGrid:
    """Run `run` over a few frames at a time, so that a long video takes no more memory."""
    parts = [run(part) for part in torch.split(pixels, _MAX_BATCH_FRAMES)]
    fields = ([getattr(part, f.name) for part in parts] for f in dataclasses.fields(TokenGrid))
    return TokenGrid(*(torch.cat(field) for field in fields))


def single_piece_tokens(
    state: TokenGrid,
    source: Grid,
    identity: Identity,
    oim: OimSettings,
    video: VideoFrames | None = None,
) -> VisionTokens:
    """Make visual tokens of a grid whose frames, or tiles, are one piece.

    Args:
        state: the merged and projected grid.
        source: the grid before merging.
        identity: of the vision half.
        oim: the settings it was merged by.
        video: None for an image.
    """
    frames, rows, columns = state.sizes.shape
    frame = torch.arange(frames).float().view(-1, 1, 1, 1).expand(-1, rows, columns, 1)
    return VisionTokens(
        # A copy, so that cached tokens do not keep the whole batch in memory.
        embeddings=state.hidden.flatten(0, 2).to("cpu", copy=True),
        pieces=(Piece(Grid(frames, rows, columns), source),),
        positions=torch.cat((frame, state.positions.cpu()), dim=-1).flatten(0, 2),
        sizes=state.sizes.flatten().to("cpu", copy=True),
        identity=identity,
        merge_sha256=oim.sha256,
        source_positions=oim.llm_position == "source" and not oim.is_off,
        video=video,
    )
