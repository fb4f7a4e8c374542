"""Pictures to patches, and each family's stock tower on a batch of equal pictures.

Training sees smaller pictures first; a tower whose places are a table then takes a window of it.
"""

from __future__ import annotations

import math
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

Grid = tuple[int, int]
"""Rows and columns of cells."""

WHOLE = 16
"""Cells on a side of a tile."""

Looks = list[tuple[torch.Tensor, torch.Tensor]]
"""Each block's queries and keys of the patches: [pictures, heads, patches, head size]."""


class Qwen2VLTower:
    """Both frames of a temporal patch weigh the same, so a patch is their mean."""

    side, temporal = 14, 2

    def __init__(self, model: Any) -> None:
        self.modules: nn.Module = model.model.visual

    def patch_weight(self) -> torch.Tensor:
        return self.modules.patch_embed.proj.weight

    def forward(
        self,
        patches: torch.Tensor,
        grid: Grid,
        corner: Grid = (0, 0),
        looks: Looks | None = None,
    ) -> torch.Tensor:
        """looks: gets each block's."""
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
    side, temporal = 14, 1

    def __init__(self, model: Any) -> None:
        self.modules: nn.Module = nn.ModuleDict(
            {"tower": model.model.vision_tower, "projector": model.model.multi_modal_projector}
        )
        wave_places(model.model.vision_tower.embeddings.position_embeddings.data[0, 1:])

    def patch_weight(self) -> torch.Tensor:
        return self.modules["tower"].embeddings.patch_embeddings.projection.weight

    def forward(
        self,
        patches: torch.Tensor,
        grid: Grid,
        corner: Grid = (0, 0),
        looks: Looks | None = None,
    ) -> torch.Tensor:
        """looks: gets each block's, without the class token's."""
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
    side, temporal = 28, 1

    def __init__(self, model: Any) -> None:
        self.modules: nn.Module = nn.ModuleDict(
            {"tower": model.model.vision_tower, "projector": model.model.multi_modal_projector}
        )
        wave_places(model.model.vision_tower.embeddings.position_embedding.weight.data)

    def patch_weight(self) -> torch.Tensor:
        return self.modules["tower"].embeddings.patch_embedding.weight

    def forward(self, patches: torch.Tensor, grid: Grid, corner: Grid = (0, 0)) -> torch.Tensor:
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
    """[pictures, patches, 3 * side * side] float32, normalised, the patches of a cell in a row."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).float() / 255
    pixels = (pixels - torch.tensor(OPENAI_CLIP_MEAN)) / torch.tensor(OPENAI_CLIP_STD)
    batch, height, width, _ = pixels.shape
    rows, cols, each = height // CELL, width // CELL, CELL // side
    blocks = pixels.view(batch, rows, each, side, cols, each, side, 3)
    blocks = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6)
    return blocks.reshape(batch, rows * cols * each**2, 3 * side * side)


def places(grid: Grid, each: int) -> torch.Tensor:
    """Row and column of each patch in the order of `to_patches`: [patches, 2]."""
    rows, cols = grid
    y, x = torch.meshgrid(torch.arange(each * rows), torch.arange(each * cols), indexing="ij")
    blocks = torch.stack([y, x]).view(2, rows, each, cols, each)
    return blocks.permute(0, 1, 3, 2, 4).reshape(2, -1).T


def flat_places(grid: Grid, corner: Grid, each: int) -> torch.Tensor:
    """Index of each patch in a whole tile's raster; `corner` is the cell of the first: [patches]"""
    y, x = (places(grid, each) + each * torch.tensor(corner)).unbind(1)
    return y * WHOLE * each + x


@torch.no_grad()
def whiten_patch_embedding(
    weight: torch.Tensor, patches: torch.Tensor, floor: float = 0.02
) -> None:
    """Start the patch embedding as the patches' principal components, each at unit power.

    Without it a bright page's mean drowns the strokes on it. weight: [width, 3, (frames,) side,
    side], changed; patches: [patches, 3 * side * side].
    """
    power = patches.T @ patches / len(patches)
    values, vectors = torch.linalg.eigh(power)
    count, frames = len(weight), weight.shape[2] if weight.ndim == 5 else 1
    top = slice(-count, None)
    filters = (vectors[:, top] / (values[top].clamp(min=0) + floor).sqrt()).T
    filters = filters.reshape(count, 3, 1, *weight.shape[-2:]) / frames
    weight.copy_(filters.expand(-1, -1, frames, -1, -1).reshape(weight.shape))


@torch.no_grad()
def wave_places(table: torch.Tensor, amplitude: float = 2.0) -> None:
    """Start a table of places as waves along rows and columns, of many lengths.

    Nearly as loud as the patches: where they drown it, no head finds a patch's neighbours.

    table: [side * side, width], changed.
    """
    side, quarter = round(len(table) ** 0.5), table.shape[1] // 4
    pace = math.pi / side * (side / 2) ** (torch.arange(quarter) / (quarter - 1))
    waves = torch.arange(side)[:, None] * pace
    waves = torch.cat([waves.sin(), waves.cos()], 1)
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    table.copy_(amplitude * torch.cat([rows, columns], 2).flatten(0, 1))


@torch.no_grad()
def start_from_qwen2_vl(tower: InternVLTower, weights: dict[str, torch.Tensor]) -> None:
    """What the two architectures share; places and projector start fresh."""
    modules: Any = tower.modules["tower"]
    modules.embeddings.patch_embeddings.projection.weight.copy_(
        weights["patch_embed.proj.weight"].sum(2)
    )
    modules.embeddings.patch_embeddings.projection.bias.zero_()
    for number, layer in enumerate(modules.encoder.layer):
        own = {k.removeprefix(f"blocks.{number}."): v for k, v in weights.items()}
        for kind in ("weight", "bias"):
            parts = own[f"attn.qkv.{kind}"].chunk(3)
            for name, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
                getattr(getattr(layer.attention, name), kind).copy_(part)
            for target, source in (
                (layer.attention.projection_layer, "attn.proj"),
                (layer.layernorm_before, "norm1"), (layer.layernorm_after, "norm2"),
                (layer.mlp.fc1, "mlp.fc1"), (layer.mlp.fc2, "mlp.fc2"),
            ):  # fmt: skip
                getattr(target, kind).copy_(own[f"{source}.{kind}"])


def look_gap(own: Looks, others: Looks, rows: torch.Tensor) -> torch.Tensor:
    """How far attention is from another tower's of the same depth and heads: the divergence of what
    some patches look at, averaged over them, heads and blocks.

    rows: which patches, int64.
    """
    gaps = []
    for (query, key), (other_query, other_key) in zip(own, others, strict=True):
        scale = query.shape[-1] ** -0.5
        said = (query[:, :, rows] @ key.mT * scale).log_softmax(-1)
        wanted = (other_query[:, :, rows] @ other_key.mT * scale).softmax(-1)
        gaps.append(F.kl_div(said, wanted, reduction="none").sum(-1).mean())
    return torch.stack(gaps).mean()
