"""LLaVA-OneVision's vision half: a SigLIP tower and anyres packing.

The only image of a conversation is encoded twice: whole as one tile, and larger on a canvas of
tiles, whose padding is cut off again and whose rows end in a newline token. One image of several is
encoded whole only. Frames of a video are encoded whole, each shrunk to half its sides, with one
newline token after the last.
"""

import dataclasses
from typing import Self

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import SiglipVisionModel
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.llava_onevision.modeling_llava_onevision import (
    LlavaOnevisionMultiModalProjector,
)

from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.compression.settings import OimSettings
from luvc_core.media.video_request import Video
from luvc_core.models.base import Patches
from luvc_core.models.checkpoint.layout import OpenedCheckpoint
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.families.llava_onevision import LAYOUT
from luvc_core.models.vision.anyres import (
    append_newlines,
    fit_sides,
    join_tiles,
    shrink,
    take_frames,
    unpad,
)
from luvc_core.models.vision.image_processor import preprocessing_sha256, read_image_processor
from luvc_core.models.vision.tiled_vision import TiledVision
from luvc_core.models.vision.tower import MergePlan, clip_block, merge_rest, run_blocks
from luvc_core.models.vision.video_processor import VideoProcessor
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, Separators, VideoFrames, VisionTokens

_FAMILY_SETTINGS = ("image_grid_pinpoints", "do_center_crop", "crop_size")
# The stock processor takes an image for one of several if it gets more than one.
_OTHER_IMAGE = Image.new("RGB", (8, 8))


@dataclasses.dataclass(frozen=True)
class TiledPatches(Patches):
    """Tiles of an image, of which the first is the whole image.

    Attributes:
        canvas: rows and columns of the tiles after the first; None where there are none.
        size: height and width of the image in pixels.
    """

    canvas: tuple[int, int] | None
    size: tuple[int, int]


class LlavaOnevisionVision(TiledVision):
    """Vision half of LLaVA-OneVision."""

    layout = LAYOUT
    shows_alone_larger = True

    def __init__(
        self,
        identity: Identity,
        opened: OpenedCheckpoint,
        tower: SiglipVisionModel,
        projector: LlavaOnevisionMultiModalProjector,
        newline: "_Newline",
        processor: LlavaOnevisionImageProcessorPil,
        videos: VideoProcessor,
    ) -> None:
        config = opened.config
        super().__init__(identity, tower, projector, processor)
        self._newline = newline
        self._videos = videos
        self.sampling = videos.even_sampling(middle=False)
        layers = len(tower.encoder.layers)
        self._depth: int = config.vision_feature_layer % (layers + 1)
        self._side: int = config.vision_config.image_size // config.vision_config.patch_size
        self._max_tokens = self._side**2 * int(config.vision_aspect_ratio.split("_")[-1])

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        opened = LAYOUT.open(checkpoint)
        config = opened.config
        opened.require("vision_config.model_type", "siglip_vision_model")
        opened.require("vision_feature_layer", "one layer", lambda value: isinstance(value, int))
        opened.require("vision_feature_select_strategy", "full")
        max_tiles = config.vision_aspect_ratio.removeprefix("anyres_max_")
        opened.require("vision_aspect_ratio", "anyres_max_<number>", lambda _: max_tiles.isdigit())
        with torch.device("meta"):
            tower = SiglipVisionModel._from_config(config.vision_config)
            projector = LlavaOnevisionMultiModalProjector(config)
            newline = _Newline(config.text_config.hidden_size)
        opened.weights.load_into(tower, "visual.tower.", device, dtype)
        opened.weights.load_into(projector, "visual.projector.mlp.", device, dtype)
        opened.weights.load_into(newline, "visual.projector.newline.", device, dtype)
        processor = read_image_processor(LlavaOnevisionImageProcessorPil, checkpoint)
        videos = VideoProcessor(checkpoint)
        digest = preprocessing_sha256(
            processor, _FAMILY_SETTINGS, videos.pixel_settings("num_frames")
        )
        identity = opened.vision_identity(digest)
        return cls(identity, opened, tower, projector, newline, processor, videos)

    def preprocess(self, image: Image.Image, alone: bool = True) -> Patches:
        images = [image] if alone else [[image, _OTHER_IMAGE]]
        tiles = self._processor.preprocess(images, return_tensors="pt")["pixel_values"][0]
        grid = Grid(tiles.shape[0], self._side, self._side)
        canvas = None
        if tiles.shape[0] > 1:
            pinpoints = self._processor.image_grid_pinpoints
            height, width = select_best_resolution((image.height, image.width), pinpoints)
            canvas = (height // tiles.shape[2], width // tiles.shape[3])
        return TiledPatches(tiles, grid, canvas, (image.height, image.width))

    def preprocess_video(self, video: Video) -> Patches:
        pixels = self._videos.pixels(video.frames, *self._videos.side)
        grid = Grid(len(video.frames), self._side, self._side)
        return Patches(pixels, grid, video=VideoFrames(len(video.frames), video.interval))

    def _run_tower(self, pixels: Tensor, oim: OimSettings) -> TokenGrid:
        embeddings = self._tower.embeddings
        embedded = embeddings.patch_embedding(pixels.to(self.device, self.dtype))
        # The weight itself: the module needs a table of ids that is not part of a checkpoint.
        embedded = embedded.flatten(2).transpose(1, 2) + embeddings.position_embedding.weight
        state = TokenGrid.of_source(embedded.unflatten(1, (self._side, self._side)))
        layers = self._tower.encoder.layers[: self._depth]
        plan = MergePlan(oim, self._side, self._side, depth=len(layers), multiple=LAYOUT.multiple)
        state = run_blocks(layers, clip_block, state, plan)
        return dataclasses.replace(state, hidden=self._projector(state.hidden))

    def _to_tokens(self, tiles: TokenGrid, patches: Patches, oim: OimSettings) -> VisionTokens:
        is_video = patches.video is not None
        packed = self._pack_video(tiles) if is_video else self._pack_image(tiles, patches, oim)
        embeddings, positions, sizes = (
            torch.cat([part[i] for _, part in packed]).cpu() for i in range(3)
        )
        return VisionTokens(
            embeddings=embeddings,
            pieces=tuple(piece for piece, _ in packed),
            positions=positions,
            sizes=sizes,
            identity=self.identity,
            merge_sha256=oim.sha256,
            source_positions=oim.llm_position == "source" and not oim.is_off,
            video=patches.video,
        )

    def _pack_video(self, tiles: TokenGrid) -> list["_Packed"]:
        """Pack the frames of one video, each shrunk to half its sides, merged or not."""
        target, half = (-(-tiles.rows // 2), -(-tiles.columns // 2)), -(-self._side // 2)
        small = shrink(tiles, target, (self._side, self._side), (half, half))
        return [self._pack(small, Grid(len(tiles.hidden), half, half), "piece")]

    def _pack_image(self, tiles: TokenGrid, patches: Patches, oim: OimSettings) -> list["_Packed"]:
        """Pack the tiles of one image, of which the first is the whole image."""
        assert isinstance(patches, TiledPatches)
        whole = Grid(1, self._side, self._side)
        ends: Separators = "none" if patches.canvas else "piece"
        packed = [self._pack(take_frames(tiles, 0, 1), whole, ends)]
        if patches.canvas:
            state, source = self._on_canvas(
                take_frames(tiles, 1), patches.canvas, patches.size, oim
            )
            if source.token_count:
                packed.append(self._pack(state, source, "row"))
        return packed

    def _on_canvas(
        self, tiles: TokenGrid, canvas: tuple[int, int], size: tuple[int, int], oim: OimSettings
    ) -> tuple[TokenGrid, Grid]:
        """Join the tiles of a canvas and cut off the padding.

        Returns the merged grid and the grid that the LLM would see without merging. The share that
        merging keeps is a share of the latter.
        """
        rows, columns = canvas[0] * self._side, canvas[1] * self._side
        state, rows, columns = unpad(join_tiles(tiles, canvas, self._side), rows, columns, size)
        if not rows * columns:
            return state, Grid(1, rows, columns)
        source = fit_sides(rows, columns, self._max_tokens)
        target = min(state.rows, source[0]), min(state.columns, source[1])
        state = merge_rest(shrink(state, target, (rows, columns), source), oim, source)
        return state, Grid(1, *source)

    def _pack(self, state: TokenGrid, source: Grid, ends: Separators) -> "_Packed":
        """Make a piece with its newline tokens."""
        # Cutting off and shrinking changed the sum of the sizes: restore it.
        sizes = state.sizes * (source.token_count / state.sizes.sum())
        lines = {"none": 0, "row": state.rows, "piece": 1}[ends]
        sequence = append_newlines(
            dataclasses.replace(state, sizes=sizes), lines, self._newline.weight, source.columns
        )
        return Piece(Grid(source.frames, state.rows, state.columns), source, ends), sequence


# A piece, and the embeddings, positions and sizes of its tokens.
_Packed = tuple[Piece, tuple[Tensor, Tensor, Tensor]]


class _Newline(nn.Module):
    """The embedding of the newline token, as a module that weights can be loaded into."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden_size))
