"""Compression by name."""

from collections.abc import Mapping

from luvc_core.config import Compression, OimSettings, Ramp, SpuSettings
from luvc_core.errors import InvalidSettings

PROFILES: Mapping[str, Compression] = {
    c.name: c
    for c in (
        Compression("off"),
        Compression("lossless", spu=SpuSettings(Ramp(start=0.1, end=0.8))),
        Compression("balanced", spu=SpuSettings(Ramp(start=0.1, end=0.6, first_keep=0.5))),
        # Merging late, and telling the LLM where tokens came from, cost least of all merges tried.
        Compression(
            "max",
            OimSettings(
                keep_rows=0.75, keep_columns=0.75, blocks=(0.5, 0.8), llm_position="source"
            ),
            SpuSettings(Ramp(start=0.05, end=0.6, first_keep=0.2)),
        ),
        # Pruning as the paper describes it; cutoff and counts, which it leaves open, are ours.
        Compression(
            "spu-paper",
            spu=SpuSettings(Ramp(), "low_pass", axis="raster", sampling="index", normalize=False),
        ),
    )
}
DEFAULT_PROFILE = "lossless"


def profile(name: str) -> Compression:
    """The profile of that name. Raises InvalidSettings naming those that exist."""
    if name not in PROFILES:
        raise InvalidSettings("compression.profile", f"got {name!r}", ", ".join(PROFILES))
    return PROFILES[name]
