"""Frames of a video to pixel values, by a checkpoint's settings for videos.

The stock video processors need torchvision, which has no build for some machines. Their arithmetic
is that of the Pillow image processors, which are used here instead.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from luvc_core.errors import CheckpointError, InvalidSettings
from luvc_core.media.frame_sampling import EvenSampling
from luvc_core.models.checkpoint.resolve import Checkpoint

_STOCK = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": OPENAI_CLIP_MEAN,
    "image_std": OPENAI_CLIP_STD,
    "rescale_factor": 1 / 255,
    "resample": 3,
    "size": {"height": 384, "width": 384},
}


class VideoProcessor:
    """Resizes and normalises frames.

    Attributes:
        settings: the checkpoint's, then the family's defaults, then those of all stock processors.
    """

    def __init__(self, checkpoint: Checkpoint, defaults: Mapping[str, Any] | None = None) -> None:
        """Read the checkpoint's settings; `defaults` are those of the family's stock processor."""
        self._folder = checkpoint.folder
        self.settings: dict[str, Any] = {**_STOCK, **(defaults or {}), **_read_settings(checkpoint)}
        shared = {name: self.settings[name] for name in _STOCK if name != "size"}
        self._backend: Any = PilBackend(**shared)

    def pixel_settings(self, *family_settings: str) -> dict[str, Any]:
        """Return the settings that change the pixels, those that only this family has included."""
        return {name: self.settings.get(name) for name in (*_STOCK, *family_settings)}

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of every frame. Raises CheckpointError where the settings name none."""
        size = self.settings["size"]
        try:
            return int(size["height"]), int(size["width"])
        except (KeyError, TypeError, ValueError):
            problem = f"size {size} of the video processor is not supported"
            allowed = "height and width"
            raise CheckpointError(f"{self._folder}: {problem}; supported: {allowed}") from None

    def even_sampling(self, middle: bool) -> EvenSampling:
        """Return the choice of frames that the settings name; `middle` as in EvenSampling.

        Raises:
            CheckpointError: where the number of frames in the settings is invalid.
        """
        try:
            return EvenSampling(int(self.settings.get("num_frames") or 32), middle=middle)
        except (TypeError, ValueError, InvalidSettings) as error:
            raise CheckpointError(f"{self._folder}: video processor: {error}") from error

    def pixels(self, frames: Sequence[Image.Image], height: int, width: int) -> Tensor:
        """Resize and normalise frames.

        Args:
            frames: RGB images.
            height: of the result, in pixels.
            width: of the result, in pixels.

        Returns:
            float32 [frames, channels, height, width]
        """
        size = {"height": height, "width": width}
        # One frame at a time: the arrays in between are several times as large as the result.
        batches = (
            self._backend.preprocess([frame], size=size, return_tensors="pt") for frame in frames
        )
        return torch.cat([batch["pixel_values"] for batch in batches])


def _read_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """Read the settings for videos from where transformers looks first.

    In order: nested in processor_config.json, a file for videos, the file for images.
    """
    if (checkpoint.folder / "processor_config.json").is_file():
        nested = checkpoint.read_json("processor_config.json").get("video_processor")
        if isinstance(nested, dict):
            return _without_nulls(nested)
    name = "video_preprocessor_config.json"
    if not (checkpoint.folder / name).is_file():
        name = "preprocessor_config.json"
    return _without_nulls(checkpoint.read_json(name))


def _without_nulls(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
