"""LLaVA-1.5: one square tile, a CLIP tower without its last layers, 1-D positions."""

import dataclasses
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
from luvc_core.models.base import Patches
from luvc_core.models.checkpoint.layout import Layout, llava_renames
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.text.positions_1d import Text1D
from luvc_core.models.text.visual_marks import ImageMarks
from luvc_core.models.vision.image_processor import preprocessing_sha256, read_image_processor
from luvc_core.models.vision.tiled_vision import TiledVision
from luvc_core.models.vision.tower import MergePlan, clip_block, run_blocks
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid

LAYOUT = Layout(
    family="llava",
    title="LLaVA-1.5",
    config_class=LlavaConfig,
    renames=llava_renames(),
    projector="visual.projector.",
)
_FAMILY_SETTINGS = ("do_center_crop", "crop_size", "do_pad")


class LlavaVision(TiledVision):
    """Vision half of LLaVA-1.5. An image is one tile of the size that the tower was made for."""

    layout = LAYOUT

    def __init__(
        self,
        identity: Identity,
        config: Any,
        tower: CLIPVisionModel,
        projector: LlavaMultiModalProjector,
        processor: LlavaImageProcessorPil,
    ) -> None:
        super().__init__(identity, tower, projector, processor)
        # Layer 0 is the input of the first block.
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
        identity = opened.vision_identity(preprocessing_sha256(processor, _FAMILY_SETTINGS))
        half = cls(identity, config, tower, projector, processor)
        size = config.vision_config.image_size
        sides = half.preprocess(Image.new("RGB", (8, 16))).pixels.shape[2:]
        if sides != (size, size):
            problem = f"pictures of {tuple(sides)} for a tower of {size} pixels"
            raise CheckpointError(f"{checkpoint.folder}: {problem}")
        return half

    def preprocess(self, image: Image.Image, alone: bool = True) -> Patches:
        tiles = self._processor.preprocess([image], return_tensors="pt")["pixel_values"]
        return Patches(tiles, Grid(1, self._side, self._side))

    def _run_tower(self, pixels: Tensor, oim: OimSettings) -> TokenGrid:
        embeddings, side = self._tower.embeddings, self._side
        embedded = embeddings.patch_embedding(pixels.to(self.device, self.dtype))
        first = embeddings.class_embedding.expand(len(pixels), 1, -1)
        embedded = torch.cat((first, embedded.flatten(2).transpose(1, 2)), dim=1)
        # The weight itself: the module needs a table of ids that is not part of a checkpoint.
        embedded = self._tower.pre_layrnorm(embedded + embeddings.position_embedding.weight)
        state = TokenGrid.of_source(embedded[:, 1:].unflatten(1, (side, side)))
        plan = MergePlan(oim, side, side, depth=len(self._blocks), multiple=LAYOUT.multiple)
        state = run_blocks(self._blocks, clip_block, state, plan, prefix=embedded[:, :1])
        return dataclasses.replace(state, hidden=self._projector(state.hidden))


class LlavaLanguage(Text1D):
    """Language half of LLaVA-1.5."""

    layout = LAYOUT
    marks = ImageMarks("<image>")
