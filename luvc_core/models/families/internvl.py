"""InternVL 2.5 and 3: tiles and a thumbnail, a CLS token, pixel shuffle, 1-D positions.

Modules and weights are those of transformers; the loop over the tower is not, because tokens merge
in it.
"""

import dataclasses
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import InternVLConfig, InternVLVisionModel
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

from luvc_core.compression.algorithms.projector_blocks import project_blocks
from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.compression.settings import OimSettings
from luvc_core.media.video_request import Video
from luvc_core.models.base import Patches
from luvc_core.models.checkpoint.layout import IMAGES, Layout, llava_renames
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.text.positions_1d import Text1D
from luvc_core.models.text.visual_marks import ImageMarks, VideoMarks
from luvc_core.models.vision.image_processor import preprocessing_sha256, read_image_processor
from luvc_core.models.vision.tiled_vision import TiledVision
from luvc_core.models.vision.tower import MergePlan, run_blocks
from luvc_core.models.vision.video_processor import VideoProcessor
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, VideoFrames

LAYOUT = Layout(
    family="internvl",
    title="InternVL",
    config_class=InternVLConfig,
    renames=llava_renames(),
    projector="visual.projector.",
    multiple=2,
    takes=(*IMAGES, "video"),
)
_FAMILY_SETTINGS = ("crop_to_patches", "min_patches", "max_patches")


class InternVLVision(TiledVision):
    """Vision half of InternVL.

    The tower treats all tiles alike, the thumbnail too: each merges by itself, and all to one grid,
    so that the tiles of an image are the frames of one piece. A frame of a video is one tile.
    """

    layout = LAYOUT

    def __init__(
        self,
        identity: Identity,
        tower: InternVLVisionModel,
        projector: InternVLMultiModalProjector,
        processor: GotOcr2ImageProcessorPil,
        videos: VideoProcessor,
    ) -> None:
        super().__init__(identity, tower, projector, processor)
        self._videos = videos
        self.sampling = videos.even_sampling(middle=True)

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        opened = LAYOUT.open(checkpoint)
        config = opened.config
        opened.require("vision_feature_layer", -1)
        opened.require("vision_feature_select_strategy", "default")
        opened.require("downsample_ratio", 1 / LAYOUT.multiple)
        with torch.device("meta"):
            tower = InternVLVisionModel._from_config(config.vision_config)
            projector = InternVLMultiModalProjector(config)
        opened.weights.load_into(tower, "visual.tower.", device, dtype)
        opened.weights.load_into(projector, "visual.projector.", device, dtype)
        # InternVL's processor passes this setting too; without it an image is one tile.
        processor = read_image_processor(GotOcr2ImageProcessorPil, checkpoint, crop_to_patches=True)
        videos = VideoProcessor(checkpoint)
        digest = preprocessing_sha256(
            processor, _FAMILY_SETTINGS, videos.pixel_settings("num_frames")
        )
        return cls(opened.vision_identity(digest), tower, projector, processor, videos)

    def preprocess(self, image: Image.Image, alone: bool = True) -> Patches:
        return self._patches(
            self._processor.preprocess([image], return_tensors="pt")["pixel_values"]
        )

    def preprocess_video(self, video: Video) -> Patches:
        tiles = self._videos.pixels(video.frames, *self._videos.side)
        return self._patches(tiles, VideoFrames(len(video.frames), video.interval))

    def _patches(self, tiles: Tensor, video: VideoFrames | None = None) -> Patches:
        height, width = self._tower.embeddings.patch_size
        grid = Grid(tiles.shape[0], tiles.shape[2] // height, tiles.shape[3] // width)
        return Patches(tiles, grid, video=video)

    def _run_tower(self, pixels: Tensor, oim: OimSettings) -> TokenGrid:
        side, tower = LAYOUT.multiple, self._tower
        embedded = tower.embeddings(pixels.to(self.device, self.dtype))
        rows, columns = (
            length // patch
            for length, patch in zip(pixels.shape[2:], tower.embeddings.patch_size, strict=True)
        )
        state = TokenGrid.of_source(embedded[:, 1:].unflatten(1, (rows, columns)))
        layers = tower.encoder.layer
        plan = MergePlan(oim, rows, columns, depth=len(layers), multiple=side)
        state = run_blocks(layers, _vision_block, state, plan, prefix=embedded[:, :1])
        return project_blocks(
            dataclasses.replace(state, hidden=tower.layernorm(state.hidden)),
            side,
            (rows // side, columns // side),
            lambda blocks: self._projector(blocks.flatten(2)),
        )


def _vision_block(layer: Any, hidden: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run one block of the tower; see tower.Block."""
    attention, x = layer.attention, layer.layernorm_before(hidden)
    queries, keys, values = (
        states.unflatten(-1, (attention.num_heads, -1))
        for states in (
            attention.q_norm(attention.q_proj(x)),
            attention.k_norm(attention.k_proj(x)),
            attention.v_proj(x),
        )
    )
    mixed = F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=bias
    )
    hidden = hidden + layer.lambda_1 * attention.projection_layer(mixed.transpose(1, 2).flatten(2))
    return hidden + layer.lambda_2 * layer.mlp(layer.layernorm_after(hidden)), keys.mean(2)


class InternVLLanguage(Text1D):
    """Language half of InternVL."""

    layout = LAYOUT
    marks = ImageMarks("<IMG_CONTEXT>", before=("<img>",), after=("</img>",))
    video_marks = VideoMarks("<video>", "<IMG_CONTEXT>", frame="Frame{number}: <img>{token}</img>")
