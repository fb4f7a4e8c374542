"""Clips cut into patches as Qwen2-VL takes them: two frames, or more, to one patch."""

from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from luvc_core.errors import CheckpointError, InvalidSettings
from luvc_core.media.frame_sampling import RateSampling
from luvc_core.media.video_request import Video
from luvc_core.models.base import Patches
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.vision.video_processor import VideoProcessor
from luvc_core.visual_tokens.vision_tokens import Grid, VideoFrames

_OWN_SETTINGS = (
    "fps", "min_frames", "max_frames", "cap_pixels_per_frame", "max_video_tokens", "min_pixels",
    "max_pixels",
)  # fmt: skip
_STOCK = {
    "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28},
    "fps": 2.0,
    "min_frames": 4,
    "max_frames": 768,
    "max_video_tokens": 128_000,
}


class VideoPatches:
    """tower: settings of the vision tower, which say how large a patch is."""

    def __init__(self, checkpoint: Checkpoint, tower: Any) -> None:
        self._processor = VideoProcessor(checkpoint, _STOCK)
        self._patch: int = tower.patch_size
        self._depth: int = tower.temporal_patch_size
        self._merge: int = tower.spatial_merge_size
        settings = self._processor.settings
        try:
            # Older settings name the bounds apart.
            size = settings["size"]
            self._least = int(settings.get("min_pixels") or size["shortest_edge"])
            self._most = int(settings.get("max_pixels") or size["longest_edge"])
            self._budget: int | None = None
            if settings.get("cap_pixels_per_frame"):
                area = (self._patch * self._merge) ** 2
                self._budget = int(settings["max_video_tokens"] * area * 0.9)
            self.sampling = RateSampling(
                float(settings["fps"]),
                int(settings["min_frames"]),
                int(settings["max_frames"]),
                self._depth,
            )
        except (KeyError, TypeError, ValueError, InvalidSettings) as error:
            problem = f"video processor settings do not fit: {error!r}"
            raise CheckpointError(f"{checkpoint.folder}: {problem}") from error

    def identifying(self) -> dict[str, Any]:
        """The settings that decide over pixels."""
        return self._processor.identifying(*_OWN_SETTINGS)

    def cut(self, video: Video) -> Patches:
        """The whole clip at one size, which depends on how many frames share the budget."""
        frames = video.frames
        pixels = self._processor.pixels(frames, *self._sides(video))
        missing = -len(frames) % self._depth
        # The last frame stands in for those that a patch lacks.
        pixels = torch.cat((pixels, pixels[-1:].expand(missing, -1, -1, -1)))
        grid = Grid(
            pixels.shape[0] // self._depth,
            pixels.shape[2] // self._patch,
            pixels.shape[3] // self._patch,
        )
        shown = VideoFrames(len(frames), video.interval)
        return Patches(self._in_blocks(pixels, grid), grid, video=shown)

    def _sides(self, video: Video) -> tuple[int, int]:
        """Height and width of a resized frame."""
        most = self._most
        if self._budget is not None:
            share = self._budget * self._depth // len(video.frames)
            most = max(min(most, share), int(self._least * 1.05))
        width, height = video.frames[0].size
        factor = self._patch * self._merge
        sides: tuple[int, int] = smart_resize(height, width, factor, self._least, most)
        return sides

    def _in_blocks(self, pixels: Tensor, grid: Grid) -> Tensor:
        """[frames, channels, height, width] -> [patches, values], block by block of those that the
        projector joins."""
        side, patch = self._merge, self._patch
        cut = pixels.view(
            grid.frames, self._depth, pixels.shape[1],
            grid.rows // side, side, patch, grid.columns // side, side, patch,
        )  # fmt: skip
        return cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(grid.token_count, -1)
