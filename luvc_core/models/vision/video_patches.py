"""Videos cut into patches as Qwen2-VL takes them: a patch spans two frames or more."""

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

_FAMILY_SETTINGS = (
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
    """Resizes the frames of a video and cuts them into patches.

    Attributes:
        sampling: which frames the family looks at.
    """

    def __init__(self, checkpoint: Checkpoint, tower: Any) -> None:
        """Read the checkpoint's settings for videos.

        Args:
            checkpoint: the folder with the settings.
            tower: config of the vision tower, which says how large a patch is.

        Raises:
            CheckpointError: where settings are missing or do not fit.
        """
        self._processor = VideoProcessor(checkpoint, _STOCK)
        self._patch: int = tower.patch_size
        self._depth: int = tower.temporal_patch_size
        self._merge: int = tower.spatial_merge_size
        settings = self._processor.settings
        try:
            # Older checkpoints name the bounds of pixels differently.
            size = settings["size"]
            self._min_pixels = int(settings.get("min_pixels") or size["shortest_edge"])
            self._max_pixels = int(settings.get("max_pixels") or size["longest_edge"])
            self._video_pixels: int | None = None
            if settings.get("cap_pixels_per_frame"):
                area = (self._patch * self._merge) ** 2
                self._video_pixels = int(settings["max_video_tokens"] * area * 0.9)
            self.sampling = RateSampling(
                float(settings["fps"]),
                int(settings["min_frames"]),
                int(settings["max_frames"]),
                self._depth,
            )
        except (KeyError, TypeError, ValueError, InvalidSettings) as error:
            problem = f"video processor settings do not fit: {error!r}"
            raise CheckpointError(f"{checkpoint.folder}: {problem}") from error

    def pixel_settings(self) -> dict[str, Any]:
        """Return the settings that change the pixels."""
        return self._processor.pixel_settings(*_FAMILY_SETTINGS)

    def cut(self, video: Video) -> Patches:
        """Cut a video, its frames resized to one size that depends on how many there are."""
        frames = video.frames
        pixels = self._processor.pixels(frames, *self._sides(video))
        missing = -len(frames) % self._depth
        # The last frame is repeated until the last patch is full.
        pixels = torch.cat((pixels, pixels[-1:].expand(missing, -1, -1, -1)))
        grid = Grid(
            pixels.shape[0] // self._depth,
            pixels.shape[2] // self._patch,
            pixels.shape[3] // self._patch,
        )
        return Patches(
            self._in_blocks(pixels, grid), grid, video=VideoFrames(len(frames), video.interval)
        )

    def _sides(self, video: Video) -> tuple[int, int]:
        """Return height and width of a resized frame."""
        max_pixels = self._max_pixels
        if self._video_pixels is not None:
            share = self._video_pixels * self._depth // len(video.frames)
            max_pixels = max(min(max_pixels, share), int(self._min_pixels * 1.05))
        width, height = video.frames[0].size
        factor = self._patch * self._merge
        sides: tuple[int, int] = smart_resize(height, width, factor, self._min_pixels, max_pixels)
        return sides

    def _in_blocks(self, pixels: Tensor, grid: Grid) -> Tensor:
        """Cut [frames, channels, height, width] into [patches, values].

        Patches that the projector joins to one token follow each other.
        """
        side, patch = self._merge, self._patch
        cut = pixels.view(
            grid.frames, self._depth, pixels.shape[1],
            grid.rows // side, side, patch, grid.columns // side, side, patch,
        )  # fmt: skip
        return cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(grid.token_count, -1)
