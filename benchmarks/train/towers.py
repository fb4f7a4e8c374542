"""Cut images into patches, and run each family's stock tower on a batch of equal images.

Training sees smaller images first; a tower whose places are a table then takes a window of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from ..tasks.base import CELL
from .tower_init import wave_places

Grid = tuple[int, int]
"""Rows and columns of cells."""

WHOLE = 16
"""Cells on a side of a tile."""

Looks = list[tuple[torch.Tensor, torch.Tensor]]
"""Each block's queries and keys of the patches: [images, heads, patches, head size]."""


class Qwen2VLTower:
    """Qwen2-VL's tower. A temporal patch is the mean of its two frames, which weigh the same."""

    side, temporal = 14, 2

    def __init__(self, model: Any) -> None:
        self.modules: nn.Module = model.model.visual

    def patch_weight(self) -> torch.Tensor:
        """Return the weight of the patch embedding."""
        return self.modules.patch_embed.proj.weight

    def forward(
        self,
        patches: torch.Tensor,
        grid: Grid,
        corner: Grid = (0, 0),
        looks: Looks | None = None,
    ) -> torch.Tensor:
        """Return the visual tokens: [images, cells, hidden].

        Args:
            patches: [images, patches, values], as of `to_patches`.
            grid: rows and columns of cells.
            corner: not used, as positions are relative.
            looks: gets each block's queries and keys.
        """
        tower: Any = self.modules
        batch, count, _ = patches.shape
        x = patches @ self.patch_weight().sum(2).flatten(1).T
        cos, sin = tower.rotary_pos_emb(x, places(grid, CELL // self.side))
        for block in tower.blocks:
            qkv = block.attn.qkv(block.norm1(x)).view(batch, count, 3, block.attn.num_heads, -1)
            query, key, value = qkv.unbind(2)
            query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
            query, key, value = (part.transpose(1, 2) for part in (query, key, value))
            if looks is not None:
                looks.append((query, key))
            mixed = F.scaled_dot_product_attention(query, key, value)
            x = x + block.attn.proj(mixed.transpose(1, 2).reshape(batch, count, -1))
            x = x + block.mlp(block.norm2(x))
        return tower.merger(x).view(batch, count // 4, -1)


class InternVLTower:
    """InternVL's tower, whose places are a table."""

    side, temporal = 14, 1

    def __init__(self, model: Any) -> None:
        self.modules: nn.Module = nn.ModuleDict(
            {"tower": model.model.vision_tower, "projector": model.model.multi_modal_projector}
        )
        wave_places(model.model.vision_tower.embeddings.position_embeddings.data[0, 1:])

    def patch_weight(self) -> torch.Tensor:
        """Return the weight of the patch embedding."""
        return self.modules["tower"].embeddings.patch_embeddings.projection.weight

    def forward(
        self,
        patches: torch.Tensor,
        grid: Grid,
        corner: Grid = (0, 0),
        looks: Looks | None = None,
    ) -> torch.Tensor:
        """Return the visual tokens: [images, cells, hidden].

        Args:
            patches: [images, patches, values], as of `to_patches`.
            grid: rows and columns of cells.
            corner: cell of the tile where the images begin.
            looks: gets each block's queries and keys, without the class token's.
        """
        tower: Any = self.modules["tower"]
        embeddings, batch = tower.embeddings, len(patches)
        table = embeddings.position_embeddings[0]
        at = 1 + flat_places(grid, corner, CELL // self.side)
        x = patches @ self.patch_weight().flatten(1).T + embeddings.patch_embeddings.projection.bias
        first = (embeddings.cls_token + table[:1]).expand(batch, -1, -1)
        x = torch.cat([first, x + table[at]], 1)
        for layer in tower.encoder.layer:
            if looks is not None:
                inner = layer.layernorm_before(x[:, 1:])
                parts = (layer.attention.q_proj(inner), layer.attention.k_proj(inner))
                heads = layer.attention.num_heads
                query, key = (p.unflatten(-1, (heads, -1)).transpose(1, 2) for p in parts)
                looks.append((query, key))
            x = layer(x)
        x = tower.layernorm(x[:, 1:])
        # The four patches of a cell follow each other, as pixel shuffle would put them.
        return self.modules["projector"](x.reshape(batch, x.shape[1] // 4, -1))


class LlavaOnevisionTower:
    """LLaVA-OneVision's tower, whose places are a table."""

    side, temporal = 28, 1

    def __init__(self, model: Any) -> None:
        self.modules: nn.Module = nn.ModuleDict(
            {"tower": model.model.vision_tower, "projector": model.model.multi_modal_projector}
        )
        wave_places(model.model.vision_tower.embeddings.position_embedding.weight.data)

    def patch_weight(self) -> torch.Tensor:
        """Return the weight of the patch embedding."""
        return self.modules["tower"].embeddings.patch_embedding.weight

    def forward(self, patches: torch.Tensor, grid: Grid, corner: Grid = (0, 0)) -> torch.Tensor:
        """Return the visual tokens: [images, cells, hidden].

        Args:
            patches: [images, patches, values], as of `to_patches`.
            grid: rows and columns of cells.
            corner: cell of the tile where the images begin.
        """
        tower: Any = self.modules["tower"]
        embeddings = tower.embeddings
        at = flat_places(grid, corner, CELL // self.side)
        x = patches @ self.patch_weight().flatten(1).T + embeddings.patch_embedding.bias
        x = x + embeddings.position_embedding.weight[at]
        for layer in tower.encoder.layers:
            x = layer(x, None)
        return self.modules["projector"](x)


TOWERS: dict[str, Any] = {
    "qwen2-vl": Qwen2VLTower,
    "internvl": InternVLTower,
    "llava-ov": LlavaOnevisionTower,
}


def to_patches(images: Sequence[Image.Image], side: int) -> torch.Tensor:
    """Cut images into normalised patches: [images, patches, 3 * side * side] float32.

    The patches of a cell follow each other.
    """
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).float() / 255
    pixels = (pixels - torch.tensor(OPENAI_CLIP_MEAN)) / torch.tensor(OPENAI_CLIP_STD)
    batch, height, width, _ = pixels.shape
    rows, cols, each = height // CELL, width // CELL, CELL // side
    blocks = pixels.view(batch, rows, each, side, cols, each, side, 3)
    blocks = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6)
    return blocks.reshape(batch, rows * cols * each**2, 3 * side * side)


def places(grid: Grid, each: int) -> torch.Tensor:
    """Return row and column of each patch in the order of `to_patches`: [patches, 2]."""
    rows, cols = grid
    y, x = torch.meshgrid(torch.arange(each * rows), torch.arange(each * cols), indexing="ij")
    blocks = torch.stack([y, x]).view(2, rows, each, cols, each)
    return blocks.permute(0, 1, 3, 2, 4).reshape(2, -1).T


def flat_places(grid: Grid, corner: Grid, each: int) -> torch.Tensor:
    """Return the index of each patch in a whole tile's raster: [patches].

    Args:
        grid: rows and columns of cells.
        corner: cell of the first patch.
        each: patches along a side of a cell.
    """
    y, x = (places(grid, each) + each * torch.tensor(corner)).unbind(1)
    return y * WHOLE * each + x


def look_gap(own: Looks, others: Looks, rows: torch.Tensor) -> torch.Tensor:
    """Return how far attention is from another tower's of the same depth and heads.

    It is the divergence of what some patches look at, averaged over them, heads and blocks.

    Args:
        own: of each block.
        others: of each block of the other tower.
        rows: which patches, int64.
    """
    gaps = []
    for (query, key), (other_query, other_key) in zip(own, others, strict=True):
        scale = query.shape[-1] ** -0.5
        said = (query[:, :, rows] @ key.mT * scale).log_softmax(-1)
        wanted = (other_query[:, :, rows] @ other_key.mT * scale).softmax(-1)
        gaps.append(F.kl_div(said, wanted, reduction="none").sum(-1).mean())
    return torch.stack(gaps).mean()
