"""LLaVA-OneVision's SigLIP tower with merging between its blocks, and its anyres packing.

A picture that is alone is shown twice: whole as one tile, and larger on a canvas of tiles whose
padding is cut off again and whose rows end in a newline. One among several is shown whole only.
Frames of a clip are shown whole, each shrunk to half its sides, with one newline after the last.
"""

import dataclasses
from collections.abc import Sequence
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
from luvc_core.models.base import Patches, VisionHalf
from luvc_core.models.checkpoint.layout import OpenedCheckpoint
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.families.llava_onevision import LAYOUT
from luvc_core.models.vision.anyres import end_lines, fitted, frames, join_tiles, shrink, unpad
from luvc_core.models.vision.image_processor import preprocessing_sha256, read_image_processor
from luvc_core.models.vision.tower import MergePlan, clip_block, merge_rest, run_blocks, run_tiles
from luvc_core.models.vision.video_processor import VideoProcessor
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, Separators, VideoFrames, VisionTokens

_OWN_SETTINGS = ("image_grid_pinpoints", "do_center_crop", "crop_size")
# The stock processor tells pictures that are alone from others by their number.
_COMPANION = Image.new("RGB", (8, 8))


@dataclasses.dataclass(frozen=True)
class TiledPatches(Patches):
    """The first tile is the whole picture.

    canvas: rows and columns of the tiles after it, if any. size: height and width in pixels.
    """

    canvas: tuple[int, int] | None
    size: tuple[int, int]


class LlavaOnevisionVision(VisionHalf):
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
        self.identity = identity
        self.device = tower.device
        self.dtype = tower.dtype
        self._tower = tower
        self._projector = projector
        self._newline = newline
        self._processor = processor
        self._videos = videos
        self.sampling = videos.even_sampling(middle=False)
        layers = len(tower.encoder.layers)
        self._depth: int = config.vision_feature_layer % (layers + 1)
        self._side: int = config.vision_config.image_size // config.vision_config.patch_size
        self._most_tokens = self._side**2 * int(config.vision_aspect_ratio.split("_")[-1])

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        opened = LAYOUT.open(checkpoint)
        config = opened.config
        opened.require("vision_config.model_type", "siglip_vision_model")
        opened.require("vision_feature_layer", "one layer", lambda value: isinstance(value, int))
        opened.require("vision_feature_select_strategy", "full")
        most_tiles = config.vision_aspect_ratio.removeprefix("anyres_max_")
        opened.require("vision_aspect_ratio", "anyres_max_<number>", lambda _: most_tiles.isdigit())
        with torch.device("meta"):
            tower = SiglipVisionModel._from_config(config.vision_config)
            projector = LlavaOnevisionMultiModalProjector(config)
            newline = _Newline(config.text_config.hidden_size)
        opened.weights.load_into(tower, "visual.tower.", device, dtype)
        opened.weights.load_into(projector, "visual.projector.mlp.", device, dtype)
        opened.weights.load_into(newline, "visual.projector.newline.", device, dtype)
        processor = read_image_processor(LlavaOnevisionImageProcessorPil, checkpoint)
        videos = VideoProcessor(checkpoint)
        identity = dataclasses.replace(
            opened.identity,
            vision_sha256=opened.weights.sha256("visual."),
            preprocessing_sha256=preprocessing_sha256(
                processor, _OWN_SETTINGS, videos.identifying("num_frames")
            ),
        )
        return cls(identity, opened, tower, projector, newline, processor, videos)

    shows_alone_larger = True

    def preprocess(self, image: Image.Image, alone: bool = True) -> Patches:
        images = [image] if alone else [[image, _COMPANION]]
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
        shown = VideoFrames(len(video.frames), video.interval)
        return Patches(pixels, Grid(shown.count, self._side, self._side), video=shown)

    @torch.inference_mode()
    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        tiled = run_tiles(patches, lambda pixels: self._run_tower(pixels, oim))
        return [
            self._tokens(self._video(tiles) if p.video else self._image(tiles, p, oim), p, oim)
            for tiles, p in zip(tiled, patches, strict=True)
        ]

    def _run_tower(self, pixels: Tensor, oim: OimSettings) -> TokenGrid:
        """[tiles, channels, height, width] -> merged and projected, one frame a tile."""
        embeddings = self._tower.embeddings
        embedded = embeddings.patch_embedding(pixels.to(self.device, self.dtype))
        # By weight: the table of places is no part of a checkpoint.
        embedded = embedded.flatten(2).transpose(1, 2) + embeddings.position_embedding.weight
        state = TokenGrid.of_source(embedded.unflatten(1, (self._side, self._side)))
        layers = self._tower.encoder.layers[: self._depth]
        plan = MergePlan(oim, self._side, self._side, depth=len(layers), multiple=LAYOUT.multiple)
        state = run_blocks(layers, clip_block, state, plan)
        return dataclasses.replace(state, hidden=self._projector(state.hidden))

    def _tokens(self, packed: list["_Packed"], patches: Patches, oim: OimSettings) -> VisionTokens:
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

    def _video(self, tiles: TokenGrid) -> list["_Packed"]:
        """tiles: the frames of one clip, which shrink to half their sides, merged or not."""
        target, half = (-(-tiles.rows // 2), -(-tiles.columns // 2)), -(-self._side // 2)
        shown = shrink(tiles, target, (self._side, self._side), (half, half))
        return [self._pack(shown, Grid(len(tiles.hidden), half, half), "piece")]

    def _image(self, tiles: TokenGrid, patches: Patches, oim: OimSettings) -> list["_Packed"]:
        """tiles: of one picture, the whole of it first."""
        assert isinstance(patches, TiledPatches)
        whole = Grid(1, self._side, self._side)
        ends: Separators = "none" if patches.canvas else "piece"
        packed = [self._pack(frames(tiles, 0, 1), whole, ends)]
        if patches.canvas:
            shown, source = self._on_canvas(frames(tiles, 1), patches.canvas, patches.size, oim)
            if source.token_count:
                packed.append(self._pack(shown, source, "row"))
        return packed

    def _on_canvas(
        self, tiles: TokenGrid, canvas: tuple[int, int], size: tuple[int, int], oim: OimSettings
    ) -> tuple[TokenGrid, Grid]:
        """The picture on its canvas without the padding, and the grid it has unmerged: what the LLM
        is to see at most. The share that merging is to keep is a share of that."""
        rows, columns = canvas[0] * self._side, canvas[1] * self._side
        state, rows, columns = unpad(join_tiles(tiles, canvas, self._side), rows, columns, size)
        if not rows * columns:
            return state, Grid(1, rows, columns)
        seen = fitted(rows, columns, self._most_tokens)
        target = min(state.rows, seen[0]), min(state.columns, seen[1])
        state = merge_rest(shrink(state, target, (rows, columns), seen), oim, seen)
        return state, Grid(1, *seen)

    def _pack(self, state: TokenGrid, source: Grid, ends: Separators) -> "_Packed":
        """A piece with its newlines."""
        # What was cut off or made smaller took some of the sizes with it.
        sizes = state.sizes * (source.token_count / state.sizes.sum())
        lines = {"none": 0, "row": state.rows, "piece": 1}[ends]
        sequence = end_lines(
            dataclasses.replace(state, sizes=sizes), lines, self._newline.weight, source.columns
        )
        return Piece(Grid(source.frames, state.rows, state.columns), source, ends), sequence


# A piece, and the embeddings, positions and sizes of its tokens.
_Packed = tuple[Piece, tuple[Tensor, Tensor, Tensor]]


class _Newline(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden_size))
