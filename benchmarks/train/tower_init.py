"""Start a tower well: its patch embedding, its table of places, or another family's weights."""

from __future__ import annotations

import math
from typing import Any

import torch


@torch.no_grad()
def whiten_patch_embedding(
    weight: torch.Tensor, patches: torch.Tensor, floor: float = 0.02
) -> None:
    """Start the patch embedding as the patches' principal components, each at unit power.

    Without it a bright page's mean drowns the strokes on it.

    Args:
        weight: [width, 3, (frames,) side, side], changed.
        patches: [patches, 3 * side * side].
        floor: added to each component's power.
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
def start_from_qwen2_vl(tower: Any, weights: dict[str, torch.Tensor]) -> None:
    """Copy what the two architectures share; places and projector start fresh."""
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
