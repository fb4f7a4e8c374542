"""Compression profiles: settings under a name."""

from collections.abc import Mapping, Sequence

from luvc_core.compression.settings import Compression, OimSettings, Ramp, SpuSettings
from luvc_core.errors import InvalidSettings

# Pruning as the paper describes it; cutoff and counts, which it leaves open, are our choice.
_PAPER = SpuSettings(
    Ramp(steps=1000),  # at every layer
    "low_pass",
    axis="raster",
    sampling="index",
    normalize=False,
    proportional_attention=False,
)

PROFILES: Mapping[str, Compression] = {
    c.name: c
    for c in (
        Compression("off"),
        # The first layer sees all tokens, so that pruning can be left out where it would not pay.
        Compression(
            "lossless",
            spu=SpuSettings(Ramp(start=0.03, end=1.0, first_keep=0.45, steps=4)),
            detailed=SpuSettings(Ramp(start=0.1, end=1.0)),
        ),
        # Tokens pruned before the first layer need not travel; the others have to last longer.
        Compression("balanced", spu=SpuSettings(Ramp(start=0.0, end=0.9, first_keep=0.6))),
        Compression("max", spu=SpuSettings(Ramp(start=0.0, end=0.8, first_keep=0.35))),
        Compression("spu-paper", spu=_PAPER),
        # Merging late, and telling the LLM where tokens came from, cost least of all merges tried.
        Compression(
            "luvc-paper",
            OimSettings(
                keep_rows=0.75, keep_columns=0.75, blocks=(0.5, 0.8), llm_position="source"
            ),
            _PAPER,
        ),
    )
}
DEFAULT_PROFILE = "lossless"


class Profiles:
    """The profiles that a service offers: the built-in ones, then added ones. Never changes.

    Attributes:
        added: those besides the built-in ones.
    """

    def __init__(self, added: Sequence[Compression] = ()) -> None:
        """Offer the built-in profiles and more, each under a name that no other one has."""
        self.added = tuple(added)
        self._by_name = {**PROFILES, **{compression.name: compression for compression in added}}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the built-in ones first."""
        return tuple(self._by_name)

    def get(self, name: str, field: str = "compression.profile") -> Compression:
        """Look up a profile. Raises InvalidSettings, which names the field and all profiles."""
        if name not in self._by_name:
            raise InvalidSettings(field, f"got {name!r}", ", ".join(self.names))
        return self._by_name[name]


BUILT_IN = Profiles()


def profile(name: str) -> Compression:
    """Look up a built-in profile. Raises InvalidSettings, which names those that exist."""
    return BUILT_IN.get(name)
