"""The image processor of a checkpoint, and the digest of its settings."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from luvc_core.errors import CheckpointError
from luvc_core.models.checkpoint.resolve import Checkpoint

_SETTINGS = (
    "do_resize", "size", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean",
    "image_std", "do_convert_rgb",
)  # fmt: skip


def read_image_processor(kind: Any, checkpoint: Checkpoint, **settings: object) -> Any:
    """Make the image processor of a checkpoint.

    Args:
        kind: its class in transformers.
        checkpoint: the folder with its settings.
        settings: that replace the checkpoint's own.

    Raises:
        CheckpointError: where the settings are missing or do not fit.
    """
    try:
        return kind.from_pretrained(checkpoint.folder, **settings)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{checkpoint.folder}: no image processor: {error}") from error


def preprocessing_sha256(
    processor: Any, family_settings: Sequence[str], videos: Mapping[str, Any] | None = None
) -> str:
    """Compute the digest of all settings that change the pixels the tower gets.

    Args:
        processor: image processor of transformers.
        family_settings: names of settings that only this kind of processor has.
        videos: settings for videos by name; None where the family takes no videos.
    """
    settings = processor.to_dict()
    chosen = {name: settings.get(name) for name in (*_SETTINGS, *family_settings)}
    if videos is not None:
        chosen["clips"] = dict(videos)
    text = json.dumps(chosen, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
