"""Vision halves whose tower rotates queries and keys by the row and column of each patch.

Modules and weights are those of transformers. The loop over the blocks is written here, because
tokens merge between them and images of one size share a batch.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from luvc_core.compression.algorithms.projector_blocks import from_blocks, project_blocks
from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.compression.settings import OimSettings
from luvc_core.media.video_request import Video
from luvc_core.models.base import Patches, Rotary, VisionHalf
from luvc_core.models.checkpoint.layout import Layout
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.vision.anyres import take_frames
from luvc_core.models.vision.image_processor import preprocessing_sha256, read_image_processor
from luvc_core.models.vision.tower import MergePlan, run_parts, single_piece_tokens
from luvc_core.models.vision.video_patches import VideoPatches
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, VisionTokens

_FAMILY_SETTINGS = ("patch_size", "temporal_patch_size", "merge_size")


class RotaryVision(VisionHalf):
    """Keeps the tokens of a frame in raster order until the projector, which takes square blocks.

    A family adds its names, and how its blocks attend if not to the whole frame.
    """

    layout: ClassVar[Layout]
    tower_class: ClassVar[Any]

    def __init__(
        self,
        identity: Identity,
        tower: Any,
        processor: Qwen2VLImageProcessorPil,
        videos: VideoPatches,
        device: torch.device,
    ) -> None:
        """Make a half of a tower that holds its weights.

        Args:
            identity: with the digests of vision half and preprocessing.
            tower: vision tower of transformers, projector included.
            processor: image processor of transformers.
            videos: cuts videos into patches.
            device: where the tower is.
        """
        self.identity = identity
        self.device = device
        self.dtype = tower.dtype
        self._tower = tower
        self._processor = processor
        self._videos = videos
        if "video" in self.layout.takes:
            self.sampling = videos.sampling
        self._block: int = self.layout.multiple
        self._patch_weight: Tensor = tower.patch_embed.proj.weight.flatten(1)
        # Made anew: the tables that it computes when made are not part of a checkpoint.
        self._rotary = type(tower.rotary_pos_emb)(tower.config).to(device)

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        opened = cls.layout.open(checkpoint)
        opened.require("vision_config.spatial_merge_size", cls.layout.multiple)
        with torch.device("meta"):
            tower = cls.tower_class._from_config(opened.config.vision_config)
        opened.weights.load_into(tower, "visual.", device, dtype)
        processor = read_image_processor(Qwen2VLImageProcessorPil, checkpoint)
        videos = VideoPatches(checkpoint, tower.config)
        digest = preprocessing_sha256(processor, _FAMILY_SETTINGS, videos.pixel_settings())
        return cls(opened.vision_identity(digest), tower, processor, videos, device)

    def preprocess(self, image: Image.Image, alone: bool = True) -> Patches:
        batch = self._processor.preprocess([image], return_tensors="pt")
        return Patches(batch["pixel_values"], Grid(*batch["image_grid_thw"][0].tolist()))

    def preprocess_video(self, video: Video) -> Patches:
        return self._videos.cut(video)

    @torch.inference_mode()
    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        # Images of one size share a batch, and so do frames.
        results: dict[int, VisionTokens] = {}
        for grid in dict.fromkeys(p.grid for p in patches):
            indices = [i for i, p in enumerate(patches) if p.grid == grid]
            pixels = torch.stack([patches[i].pixels for i in indices])
            by_frame = pixels.view(-1, grid.rows * grid.columns, pixels.shape[2])
            merged = run_parts(by_frame, partial(self._run_tower, grid=grid, oim=oim))
            side = self._block
            source = Grid(grid.frames, grid.rows // side, grid.columns // side)
            state = project_blocks(merged, side, (source.rows, source.columns), self._tower.merger)
            for n, index in enumerate(indices):
                frames = take_frames(state, n * grid.frames, (n + 1) * grid.frames)
                results[index] = single_piece_tokens(
                    frames, source, self.identity, oim, patches[index].video
                )
        return [results[i] for i in range(len(patches))]

    def _run_tower(self, pixels: Tensor, grid: Grid, oim: OimSettings) -> TokenGrid:
        """Run the blocks over [frames, patches, values], merging in between.

        A frame attends only to itself, so each frame of each image or video is one frame of the
        result, whose positions count patches.
        """
        embedded = F.linear(pixels.to(self.device, self.dtype), self._patch_weight)
        raster = from_blocks(embedded, grid.rows, grid.columns, self._block)
        state = TokenGrid.of_source(raster)
        blocks = self._tower.blocks
        plan = MergePlan(oim, grid.rows, grid.columns, depth=len(blocks), multiple=self._block)
        rotary, bias = self._vision_rotary(state.positions), None
        for index, block in enumerate(blocks):
            hidden, keys = self._run_block(index, block, state.hidden, rotary, bias)
            state = dataclasses.replace(state, hidden=hidden)
            if plan.merges_after(index):
                state = plan.merge(index, state, keys)
                rotary, bias = self._vision_rotary(state.positions), plan.bias(state)
        return state

    def _run_block(
        self, index: int, block: Any, hidden: Tensor, rotary: Rotary, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run rotary_block over [frames, rows, columns, dim], a shape that the result keeps."""
        tokens, keys = rotary_block(block, hidden.flatten(1, 2), rotary, bias)
        return tokens.view_as(hidden), keys

    def _vision_rotary(self, positions: Tensor) -> Rotary:
        """Compute the rotary tables of all tokens.

        [frames, rows, columns, 2] -> (cos, sin), each [frames, tokens, head size]
        """
        frames = positions.shape[0]
        cos, sin = self._rotary(positions, positions.reshape(-1, 2))
        return cos.view(frames, -1, cos.shape[1]), sin.view(frames, -1, sin.shape[1])


def rotary_block(
    block: Any, hidden: Tensor, rotary: Rotary, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run one block of a tower, with rotation of queries and keys.

    Args:
        block: of transformers.
        hidden: [frames, tokens, dim].
        rotary: tables for each token.
        bias: [frames, 1, 1, tokens] added to the attention logits, or None.

    Returns:
        The new hidden states, and the mean of the unrotated keys over heads, as tower.Block.
    """
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
