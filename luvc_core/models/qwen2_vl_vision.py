"""Qwen2-VL's vision tower with merging between its blocks, and its projector."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    Qwen2VLVisionRotaryEmbedding,
    apply_rotary_pos_emb_vision,
)

from luvc_core.algorithms.merging import TokenGrid, merge_grid, plan_targets
from luvc_core.config import OimSettings
from luvc_core.errors import CheckpointError
from luvc_core.models.base import Patches, Rotary, VisionHalf
from luvc_core.models.loading import Weights
from luvc_core.models.qwen2_vl import RENAMES, identity_of, read_config
from luvc_core.models.resolve import Checkpoint
from luvc_core.tokens import Grid, Identity, VisionTokens

_PREPROCESSING = (
    "do_resize", "size", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean",
    "image_std", "do_convert_rgb", "patch_size", "temporal_patch_size", "merge_size",
)  # fmt: skip


class Qwen2VLVision(VisionHalf):
    """A frame's tokens stay in raster order until the projector, which takes 2x2 blocks."""

    def __init__(
        self,
        identity: Identity,
        tower: Qwen2VisionTransformerPretrainedModel,
        processor: Qwen2VLImageProcessorPil,
        device: torch.device,
    ) -> None:
        self.identity = identity
        self.device = device
        self.dtype = tower.dtype
        self._tower = tower
        self._processor = processor
        self._block: int = tower.spatial_merge_size
        self._patch_weight: Tensor = tower.patch_embed.proj.weight.flatten(1)
        self._rotary = Qwen2VLVisionRotaryEmbedding(tower.config).to(device)

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        config = read_config(checkpoint)
        weights = Weights(checkpoint, RENAMES)
        with torch.device("meta"):
            tower = Qwen2VisionTransformerPretrainedModel._from_config(config.vision_config)
        weights.fill(tower, "visual.", device, dtype)
        try:
            processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint.folder)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{checkpoint.folder}: no image processor: {error}") from error
        identity = dataclasses.replace(
            identity_of(checkpoint, config, weights),
            vision_sha256=weights.sha256("visual."),
            preprocessing_sha256=_preprocessing_sha256(processor),
        )
        return cls(identity, tower, processor, device)

    def preprocess(self, image: Image.Image) -> Patches:
        batch = self._processor.preprocess([image], return_tensors="pt")
        return Patches(batch["pixel_values"], Grid(*batch["image_grid_thw"][0].tolist()))

    @torch.inference_mode()
    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        """Pictures of one size share a batch. The metric `keys` is the mean over heads of a block's
        attention keys before their rotation, so that it tells content and not place."""
        results: dict[int, VisionTokens] = {}
        for grid in dict.fromkeys(p.grid for p in patches):
            places = [i for i, p in enumerate(patches) if p.grid == grid]
            pixels = torch.stack([patches[i].pixels for i in places])
            merged = self._run_tower(pixels.to(self.device, self.dtype), grid, oim)
            results |= zip(places, self._project(merged, grid, oim), strict=True)
        return [results[i] for i in range(len(patches))]

    def _run_tower(self, pixels: Tensor, grid: Grid, oim: OimSettings) -> TokenGrid:
        """pixels: [pictures, patches, values]. Frames attend only within themselves, so each frame
        of each picture is one frame of the TokenGrid, whose positions count patches."""
        embedded = F.linear(pixels, self._patch_weight).view(
            -1, grid.rows * grid.columns, self._patch_weight.shape[0]
        )
        state = TokenGrid.of_source(self._to_raster(embedded, grid.rows, grid.columns))
        targets = self._merge_targets(grid, oim)
        rotary, bias = self._vision_rotary(state.positions), None
        for index, block in enumerate(self._tower.blocks):
            hidden, keys = _vision_block(block, state.hidden.flatten(1, 2), rotary, bias)
            state = dataclasses.replace(state, hidden=hidden.view_as(state.hidden))
            if index not in targets:
                continue
            metric = keys if oim.metric == "keys" else hidden
            state = merge_grid(
                state,
                *targets[index],
                metric.view(*state.sizes.shape, -1),
                window=oim.window,
                alignment=oim.alignment,
                position=oim.position,
            )
            rotary = self._vision_rotary(state.positions)
            if oim.proportional_attention:
                bias = state.sizes.flatten(1)[:, None, None].log().to(self.dtype)
        return state

    def _merge_targets(self, grid: Grid, oim: OimSettings) -> dict[int, tuple[int, int]]:
        """Block after which to merge -> patch rows and columns to leave. In a shallow tower several
        shares of the depth may mean one block."""
        if oim.is_off:
            return {}
        blocks = sorted({int(share * len(self._tower.blocks)) for share in oim.blocks})
        plan = plan_targets(
            grid.rows, grid.columns, oim.keep_rows, oim.keep_columns, len(blocks), self._block
        )
        return dict(zip(blocks, plan, strict=True))

    def _vision_rotary(self, positions: Tensor) -> Rotary:
        """[frames, rows, columns, 2] -> (cos, sin), each [frames, tokens, head size]"""
        frames = positions.shape[0]
        cos, sin = self._rotary(positions, positions.reshape(-1, 2))
        return cos.view(frames, -1, cos.shape[1]), sin.view(frames, -1, sin.shape[1])

    def _project(self, state: TokenGrid, grid: Grid, oim: OimSettings) -> list[VisionTokens]:
        """The tokens of each picture, each of a block of patches."""
        side = self._block
        source = Grid(grid.frames, grid.rows // side, grid.columns // side)
        merged = Grid(grid.frames, state.rows // side, state.columns // side)
        embeddings = self._tower.merger(self._to_blocks(state.hidden))
        embeddings = embeddings.view(-1, merged.token_count, self.identity.hidden_size).cpu()
        weights = self._to_blocks(state.sizes.unsqueeze(-1))
        sizes = weights.sum(2).view(-1, merged.token_count) / side**2
        # Patch coordinates to block coordinates: block 0 is centred on patch (side - 1) / 2. What
        # lies nearer to the edge than an outermost centre counts as being there.
        places = (self._to_blocks(state.positions) * weights).sum(2) / weights.sum(2)
        places = ((places - (side - 1) / 2) / side).view(-1, merged.token_count, 2)
        last = torch.tensor([source.rows - 1, source.columns - 1], device=places.device)
        places = places.clamp(min=torch.zeros_like(last), max=last)
        frames = torch.arange(grid.frames).repeat_interleave(merged.rows * merged.columns)
        return [
            VisionTokens(
                # A copy: a picture kept in a cache must not hold on to its batch.
                embeddings=embeddings[i].clone(),
                grid=merged,
                source_grid=source,
                positions=torch.cat((frames.float().unsqueeze(1), places[i].cpu()), dim=1),
                sizes=sizes[i].cpu(),
                identity=self.identity,
                merge_sha256=oim.sha256,
                source_positions=oim.llm_position == "source" and not oim.is_off,
            )
            for i in range(embeddings.shape[0])
        ]

    def _to_raster(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """[frames, patches in blocks, dim] -> [frames, rows, columns, dim]"""
        side = self._block
        blocks = x.view(x.shape[0], rows // side, columns // side, side, side, x.shape[2])
        return blocks.transpose(2, 3).reshape(x.shape[0], rows, columns, x.shape[2])

    def _to_blocks(self, x: Tensor) -> Tensor:
        """[frames, rows, columns, dim] -> [frames, blocks, patches of a block, dim]"""
        side = self._block
        frames, rows, columns, dim = x.shape
        blocks = x.reshape(frames, rows // side, side, columns // side, side, dim)
        return blocks.transpose(2, 3).reshape(frames, -1, side**2, dim)


def _vision_block(
    block: Any, hidden: Tensor, rotary: Rotary, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One block over [frames, tokens, dim]. Returns the hidden state and the keys' mean over heads,
    [frames, tokens, head size]. bias: added to the attention logits, [frames, 1, 1, tokens]."""
    attention = block.attn
    qkv = attention.qkv(block.norm1(hidden)).view(*hidden.shape[:2], 3, attention.num_heads, -1)
    queries, keys, values = qkv.unbind(2)
    metric = keys.mean(2)
    queries, keys = apply_rotary_pos_emb_vision(queries, keys, *rotary)
    mixed = F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=bias
    )
    hidden = hidden + attention.proj(mixed.transpose(1, 2).flatten(2))
    return hidden + block.mlp(block.norm2(hidden)), metric


def _preprocessing_sha256(processor: Qwen2VLImageProcessorPil) -> str:
    settings = processor.to_dict()
    text = json.dumps({name: settings.get(name) for name in _PREPROCESSING}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
