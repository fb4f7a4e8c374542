"""Keys of stored visual tokens: a SHA-256 over everything the tokens depend on."""

import hashlib
import json
from dataclasses import asdict, dataclass

from luvc_core.visual_tokens.identity import Identity


@dataclass(frozen=True)
class Recipe:
    """All that visual tokens depend on besides the media and their merging.

    Attributes:
        identity: of the vision half.
        dtype: number format of the vision tower.
        video_limits: limits that change which frames of a video are used, and at what size.
    """

    identity: Identity
    dtype: str
    video_limits: tuple[int, ...]


def image_key(recipe: Recipe, media_sha256: str, merge_sha256: str, tenant: str,
                alone: bool) -> str:  # fmt: skip
    """Return the key of an image's tokens.

    Args:
        recipe: what the encoder makes of any media.
        media_sha256: digest of the image file.
        merge_sha256: digest of the merging settings.
        tenant: whose tokens they are; empty where the encoder has none.
        alone: whether it is the only image of its conversation. Always False for families that
            do not use that.
    """
    return _digest(recipe, media_sha256, merge_sha256, tenant, {"picture": alone})


def video_key(recipe: Recipe, media_sha256: str, merge_sha256: str, tenant: str) -> str:
    """Return the key of a video's tokens.

    Args:
        recipe: what the encoder makes of any media.
        media_sha256: digest of the video file.
        merge_sha256: digest of the merging settings.
        tenant: whose tokens they are; empty where the encoder has none.
    """
    return _digest(recipe, media_sha256, merge_sha256, tenant, {"clip": recipe.video_limits})


def _digest(
    recipe: Recipe, media_sha256: str, merge_sha256: str, tenant: str, shown: dict[str, object]
) -> str:
    parts = {
        "identity": asdict(recipe.identity),
        "dtype": recipe.dtype,
        "media": media_sha256,
        "merge": merge_sha256,
        "tenant": tenant,
        "shown": shown,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
