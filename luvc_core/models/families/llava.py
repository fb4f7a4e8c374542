"""LLaVA-1.5: one square picture, a CLIP tower cut short, a projection per token, 1-D positions."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModel, LlavaConfig
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.compression.settings import OimSettings
from luvc_core.errors import CheckpointError
from luvc_core.models.base import Patches, VisionHalf
from luvc_core.models.checkpoint.layout import Layout, llava_renames
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.text.chat_tokenizer import ImageMarks
from luvc_core.models.text.positions_1d import Text1D
from luvc_core.models.vision.image_processor import preprocessing_sha256, read_image_processor
from luvc_core.models.vision.tower import (
    MergePlan,
    clip_block,
    run_blocks,
    run_tiles,
    single_piece_tokens,
)
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, VisionTokens

LAYOUT = Layout(
    family="llava",
    title="LLaVA-1.5",
    config_class=LlavaConfig,
    renames=llava_renames(),
    projector="visual.projector.",
)
_OWN_SETTINGS = ("do_center_crop", "crop_size", "do_pad")


class LlavaVision(VisionHalf):
    """Every picture is one tile of the size that the tower was made for."""

    def __init__(
        self,
        identity: Identity,
        config: Any,
        tower: CLIPVisionModel,
        projector: LlavaMultiModalProjector,
        processor: LlavaImageProcessorPil,
    ) -> None:
        self.identity = identity
        self.device = tower.device
        self.dtype = tower.dtype
        self._tower = tower
        self._projector = projector
        self._processor = processor
        # Layer 0 is what goes into the first block.
        depth = config.vision_feature_layer % (len(tower.encoder.layers) + 1)
        self._blocks = tower.encoder.layers[:depth]
        self._side: int = config.vision_config.image_size // config.vision_config.patch_size

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        opened = LAYOUT.open(checkpoint)
        opened.require("vision_config.model_type", "clip_vision_model")
        opened.require("vision_feature_layer", "one layer", lambda value: isinstance(value, int))
        opened.require("vision_feature_select_strategy", "default")
        config = opened.config
        with torch.device("meta"):
            tower = CLIPVisionModel._from_config(config.vision_config)
            projector = LlavaMultiModalProjector(config)
        opened.weights.load_into(tower, "visual.tower.", device, dtype)
        opened.weights.load_into(projector, "visual.projector.", device, dtype)
        processor = read_image_processor(LlavaImageProcessorPil, checkpoint)
        identity = dataclasses.replace(
            opened.identity,
            vision_sha256=opened.weights.sha256("visual."),
            preprocessing_sha256=preprocessing_sha256(processor, _OWN_SETTINGS),
        )
        half = cls(identity, config, tower, projector, processor)
        size, made = config.vision_config.image_size, half.preprocess(Image.new("RGB", (8, 16)))
        if made.pixels.shape[2:] != (size, size):
            problem = f"pictures of {tuple(made.pixels.shape[2:])} for a tower of {size} pixels"
            raise CheckpointError(f"{checkpoint.folder}: {problem}")
        return half

    def preprocess(self, image: Image.Image, alone: bool = True) -> Patches:
        tiles = self._processor.preprocess([image], return_tensors="pt")["pixel_values"]
        return Patches(tiles, Grid(1, self._side, self._side))

    @torch.inference_mode()
    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        images = run_tiles(patches, lambda pixels: self._run_tower(pixels, oim))
        return [
            single_piece_tokens(image, p.grid, self.identity, oim)
            for image, p in zip(images, patches, strict=True)
        ]

    def _run_tower(self, pixels: Tensor, oim: OimSettings) -> TokenGrid:
        """[pictures, channels, height, width] -> merged and projected, one frame a picture."""
        embeddings, side = self._tower.embeddings, self._side
        embedded = embeddings.patch_embedding(pixels.to(self.device, self.dtype))
        first = embeddings.class_embedding.expand(len(pixels), 1, -1)
        embedded = torch.cat((first, embedded.flatten(2).transpose(1, 2)), dim=1)
        # By weight: the table of places is no part of a checkpoint.
        embedded = self._tower.pre_layrnorm(embedded + embeddings.position_embedding.weight)
        state = TokenGrid.of_source(embedded[:, 1:].unflatten(1, (side, side)))
        plan = MergePlan(oim, side, side, depth=len(self._blocks), multiple=LAYOUT.multiple)
        state = run_blocks(self._blocks, clip_block, state, plan, prefix=embedded[:, :1])
        return dataclasses.replace(state, hidden=self._projector(state.hidden))


class LlavaLanguage(Text1D):
    layout = LAYOUT
    marks = ImageMarks("<image>")
