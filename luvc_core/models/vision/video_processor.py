"""Frames of a clip to pixels by a checkpoint's video settings.

The stock video processors need torchvision, whose builds do not run everywhere; their arithmetic is
done here by the resizing that pictures have.
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
    """settings: of the checkpoint, over `defaults`, over those that all stock processors share."""

    def __init__(self, checkpoint: Checkpoint, defaults: Mapping[str, Any] | None = None) -> None:
        self._folder = checkpoint.folder
        self.settings: dict[str, Any] = {**_STOCK, **(defaults or {}), **_stored(checkpoint)}
        shared = {name: self.settings[name] for name in _STOCK if name != "size"}
        self._backend: Any = PilBackend(**shared)

    def identifying(self, *own: str) -> dict[str, Any]:
        """The settings that decide over pixels. own: those that only this family has."""
        return {name: self.settings.get(name) for name in (*_STOCK, *own)}

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
        """Raises CheckpointError where the checkpoint's number of frames is none."""
        try:
            return EvenSampling(int(self.settings.get("num_frames") or 32), middle=middle)
        except (TypeError, ValueError, InvalidSettings) as error:
            raise CheckpointError(f"{self._folder}: video processor: {error}") from error

    def pixels(self, frames: Sequence[Image.Image], height: int, width: int) -> Tensor:
        """float32 [frames, channels, height, width]"""
        size = {"height": height, "width": width}
        # One at a time: in between, its arrays are several times as large as the result.
        batches = (
            self._backend.preprocess([frame], size=size, return_tensors="pt") for frame in frames
        )
        return torch.cat([batch["pixel_values"] for batch in batches])


def _stored(checkpoint: Checkpoint) -> dict[str, Any]:
    """In the order in which transformers looks: nested, in a file of its own, the pictures'."""
    if (checkpoint.folder / "processor_config.json").is_file():
        nested = checkpoint.read_json("processor_config.json").get("video_processor")
        if isinstance(nested, dict):
            return _given(nested)
    own = "video_preprocessor_config.json"
    name = own if (checkpoint.folder / own).is_file() else "preprocessor_config.json"
    return _given(checkpoint.read_json(name))


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
