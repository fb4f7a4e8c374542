"""A vision tower with merging between its blocks: what all families do alike."""

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

_TILES_AT_ONCE = 16

# One block over [frames, tokens, dim], with a bias [frames, 1, 1, tokens] on its attention logits.
# Returns the hidden state and the mean of the attention keys over heads, [frames, tokens, head
# size], before any rotation: they tell content and not place.
Block = Callable[[Any, Tensor, Tensor | None], tuple[Tensor, Tensor]]


class MergePlan:
    """After which blocks of a tower which grid is reached.

    rows, columns: of the tokens that go in. multiple: what the projector needs both sides to be a
    multiple of. Raises InvalidSettings for shares that so few blocks cannot reach.
    """

    def __init__(
        self, oim: OimSettings, rows: int, columns: int, *, depth: int, multiple: int
    ) -> None:
        self._oim = oim
        self._targets: dict[int, tuple[int, int]] = {}
        if oim.is_off:
            return
        # In a shallow tower several shares of the depth may mean one block.
        blocks = sorted({int(share * depth) for share in oim.blocks})
        least = 0.5 ** len(blocks)
        for name, keep in (("keep_rows", oim.keep_rows), ("keep_columns", oim.keep_columns)):
            if keep < least:
                problem = f"got {keep:g}, but oim.blocks are {len(blocks)} of this tower's {depth}"
                raise InvalidSettings(f"oim.{name}", problem, f"[{least:g}, 1]")
        plan = plan_targets(rows, columns, oim.keep_rows, oim.keep_columns, len(blocks), multiple)
        self._targets = dict(zip(blocks, plan, strict=True))

    def merges_after(self, block: int) -> bool:
        return block in self._targets

    def merge(self, block: int, state: TokenGrid, keys: Tensor) -> TokenGrid:
        """keys: [frames, tokens, dim]"""
        metric = keys.view(*state.sizes.shape, -1) if self._oim.metric == "keys" else state.hidden
        return _merge(state, self._targets[block], metric, self._oim)

    def bias(self, state: TokenGrid) -> Tensor | None:
        """What proportional attention adds to the logits of each token, [frames, 1, 1, tokens]."""
        if not self._oim.proportional_attention:
            return None
        return state.sizes.flatten(1)[:, None, None].log().to(state.hidden.dtype)


def merge_rest(state: TokenGrid, oim: OimSettings, source: tuple[int, int]) -> TokenGrid:
    """Merge on, where more is left than the share that was named of `source` (rows, columns).

    Padding merges in the picture's stead, and is cut off after the tower: without this, more of
    the picture would be left, the more the padding was.
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
    """All blocks of a tower whose positions are in its embeddings.

    prefix: [frames, tokens, dim] that attends and is attended to, but is no part of the grid and
    never merges, such as a CLS token.
    """
    outside = 0 if prefix is None else prefix.shape[1]
    bias = None
    for index, module in enumerate(modules):
        tokens = state.hidden.flatten(1, 2)
        tokens = tokens if prefix is None else torch.cat((prefix, tokens), dim=1)
        tokens, keys = block(module, tokens, bias)
        prefix = tokens[:, :outside]
        hidden = tokens[:, outside:].reshape(state.hidden.shape)
        state = dataclasses.replace(state, hidden=hidden)
        if plan.merges_after(index):
            state = plan.merge(index, state, keys[:, outside:])
            bias = plan.bias(state)
            bias = None if bias is None else F.pad(bias, (outside, 0))
    return state


def clip_block(layer: Any, hidden: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """A Block of towers of CLIP's kind, SigLIP among them."""
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


def run_tiles(patches: Sequence[Patches], encode: Callable[[Tensor], TokenGrid]) -> list[TokenGrid]:
    """One grid a picture, whose frames are its tiles; the tiles of all pictures share batches.

    encode: [tiles, channels, height, width] -> one frame a tile.
    """
    if not patches:
        return []
    whole = run_parts(torch.cat([p.pixels for p in patches]), encode)
    shares = [p.grid.frames for p in patches]
    split = (torch.split(getattr(whole, f.name), shares) for f in dataclasses.fields(TokenGrid))
    return [TokenGrid(*own) for own in zip(*split, strict=True)]


def run_parts(pixels: Tensor, encode: Callable[[Tensor], TokenGrid]) -> TokenGrid:
    """As `encode`, a few frames at a time: the memory of a long clip is that of a short one."""
    parts = [encode(part) for part in torch.split(pixels, _TILES_AT_ONCE)]
    fields = ([getattr(part, f.name) for part in parts] for f in dataclasses.fields(TokenGrid))
    return TokenGrid(*(torch.cat(field) for field in fields))


def one_piece(
    state: TokenGrid,
    source: Grid,
    identity: Identity,
    oim: OimSettings,
    video: VideoFrames | None = None,
) -> VisionTokens:
    """What has no more than its frames, or tiles. source: the grid it has unmerged."""
    frames, rows, columns = state.sizes.shape
    frame = torch.arange(frames).float().view(-1, 1, 1, 1).expand(-1, rows, columns, 1)
    return VisionTokens(
        # A copy: a picture kept in a cache must not hold on to its batch.
        embeddings=state.hidden.flatten(0, 2).to("cpu", copy=True),
        pieces=(Piece(Grid(frames, rows, columns), source),),
        positions=torch.cat((frame, state.positions.cpu()), dim=-1).flatten(0, 2),
        sizes=state.sizes.flatten().to("cpu", copy=True),
        identity=identity,
        merge_sha256=oim.sha256,
        source_positions=oim.llm_position == "source" and not oim.is_off,
        video=video,
    )
