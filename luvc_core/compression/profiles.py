"""Compression by name."""

from collections.abc import Mapping, Sequence

from luvc_core.compression.settings import Compression, OimSettings, Ramp, SpuSettings
from luvc_core.errors import InvalidSettings

# Pruning as the paper describes it; cutoff and counts, which it leaves open, are ours.
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
        # The first layer sees all, so that small pictures, which do not pay, can be left whole.
        Compression(
            "lossless",
            spu=SpuSettings(Ramp(start=0.03, end=1.0, first_keep=0.45, steps=4)),
            detailed=SpuSettings(Ramp(start=0.1, end=1.0)),
        ),
        # What goes before the first layer need not travel; what stays must last: see the log.
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
    """What a service offers by name: the built-in profiles, then its own. Never changes.

    own: under names that no built-in one has, each once.
    """

    def __init__(self, own: Sequence[Compression] = ()) -> None:
        self.own = tuple(own)
        self._by_name = {**PROFILES, **{compression.name: compression for compression in own}}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def get(self, name: str, field: str = "compression.profile") -> Compression:
        """The profile of that name. Raises InvalidSettings naming the field and those there are."""
        if name not in self._by_name:
            raise InvalidSettings(field, f"got {name!r}", ", ".join(self.names))
        return self._by_name[name]


BUILT_IN = Profiles()


def profile(name: str) -> Compression:
    """The built-in profile of that name. Raises InvalidSettings naming those that exist."""
    return BUILT_IN.get(name)
