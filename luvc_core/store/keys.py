"""Names of kept visual tokens: a full SHA-256 over everything they depend on."""

import hashlib
import json
from dataclasses import asdict, dataclass

from luvc_core.visual_tokens.identity import Identity


@dataclass(frozen=True)
class Recipe:
    """What an encoder makes of media, the media apart. dtype: of the vision tower's numbers.

    video_limits: bounds that change which frames of a clip are seen, and how large.
    """

    identity: Identity
    dtype: str
    video_limits: tuple[int, ...]


def image_key(recipe: Recipe, media_sha256: str, merge_sha256: str, tenant: str,
                alone: bool) -> str:  # fmt: skip
    """alone: whether it is shown as the only picture, False in families where that is all one."""
    return _digest(recipe, media_sha256, merge_sha256, tenant, {"picture": alone})


def video_key(recipe: Recipe, media_sha256: str, merge_sha256: str, tenant: str) -> str:
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
