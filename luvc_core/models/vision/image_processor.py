"""The image processor of a checkpoint, and what identifies it."""

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
    """An image processor of transformers. settings: stronger than those of the checkpoint."""
    try:
        return kind.from_pretrained(checkpoint.folder, **settings)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{checkpoint.folder}: no image processor: {error}") from error


def preprocessing_sha256(
    processor: Any, own: Sequence[str], videos: Mapping[str, Any] | None = None
) -> str:
    """Digest of the settings that decide over pixels. own: those that only this kind has. clips:
    those for clips, where the family takes any."""
    settings = processor.to_dict()
    chosen = {name: settings.get(name) for name in (*_SETTINGS, *own)}
    if videos is not None:
        chosen["clips"] = dict(videos)
    text = json.dumps(chosen, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
