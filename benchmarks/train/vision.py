"""Pictures to patches, and the stock tower's forward for a batch of equal pictures."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    apply_rotary_pos_emb_vision,
)

PATCH = 14


def to_patches(images: list[Image.Image]) -> torch.Tensor:
    """[pictures, patches, 3 * 14 * 14] float32, normalised, the four patches of a cell in a row."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).float() / 255
    pixels = (pixels - torch.tensor(OPENAI_CLIP_MEAN)) / torch.tensor(OPENAI_CLIP_STD)
    batch, height, width, _ = pixels.shape
    rows, cols = height // (2 * PATCH), width // (2 * PATCH)
    blocks = pixels.view(batch, rows, 2, PATCH, cols, 2, PATCH, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    return blocks.reshape(batch, rows * cols * 4, 3 * PATCH * PATCH)


def patch_positions(rows: int, cols: int) -> torch.Tensor:
    """Row and column of each patch in the order of `to_patches`: [patches, 2]."""
    y, x = torch.meshgrid(torch.arange(2 * rows), torch.arange(2 * cols), indexing="ij")
    grid = torch.stack([y, x]).view(2, rows, 2, cols, 2)
    return grid.permute(0, 1, 3, 2, 4).reshape(2, -1).T


def tower_forward(
    tower: Qwen2VisionTransformerPretrainedModel, patches: torch.Tensor, grid: tuple[int, int]
) -> torch.Tensor:
    """[pictures, patches, 588] -> visual tokens [pictures, cells, hidden].

    Equals the stock forward on still pictures, where both frames of a temporal patch are the same:
    the patch embedding is one matrix product, attention one batched call.
    """
    batch, count, _ = patches.shape
    weight = tower.patch_embed.proj.weight.sum(2).flatten(1)
    x = patches @ weight.T
    cos, sin = tower.rotary_pos_emb(x, patch_positions(*grid))
    for block in tower.blocks:
        qkv = block.attn.qkv(block.norm1(x)).view(batch, count, 3, block.attn.num_heads, -1)
        query, key, value = qkv.unbind(2)
        query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        )
        x = x + block.attn.proj(mixed.transpose(1, 2).reshape(batch, count, -1))
        x = x + block.mlp(block.norm2(x))
    return tower.merger(x).view(batch, count // 4, -1)


@torch.no_grad()
def whiten_patch_embedding(
    tower: Qwen2VisionTransformerPretrainedModel, patches: torch.Tensor, floor: float = 0.02
) -> None:
    """Start the patch embedding as the patches' principal components, each at unit power.

    Without it a bright page's mean drowns the strokes on it. patches: [patches, 588].
    """
    power = patches.T @ patches / len(patches)
    values, vectors = torch.linalg.eigh(power)
    weight = tower.patch_embed.proj.weight
    count, channels, frames, side, _ = weight.shape
    top = slice(-count, None)
    filters = vectors[:, top] / (values[top].clamp(min=0) + floor).sqrt()
    filters = filters.T.reshape(count, channels, 1, side, side) / frames
    weight.copy_(filters.expand(-1, -1, frames, -1, -1))
