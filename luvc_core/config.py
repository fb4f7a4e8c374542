"""Frozen settings of both compression stages, validated when made, and the named profiles."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from luvc_core.errors import InvalidSettings


T = TypeVar("T")


def _check(ok: bool, field: str, value: object, allowed: str) -> None:
    if not ok:
        raise InvalidSettings(field, f"got {value}", allowed)


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    _check(value in allowed, field, repr(value), ", ".join(allowed))


@dataclass(frozen=True)
class OimSettings:
    """Orthogonal Iterative Merger. Fields as in luvc.v1.OimSettings; `blocks` are depth shares."""

    keep_rows: float = 1.0
    keep_columns: float = 1.0
    blocks: tuple[float, ...] = (0.25, 0.5)
    metric: Literal["keys", "hidden"] = "keys"
    window: int = 0
    alignment: Literal["per_line", "shared"] = "per_line"
    position: Literal["mean", "kept"] = "mean"
    llm_position: Literal["grid", "source"] = "grid"
    proportional_attention: bool = False

    def __post_init__(self) -> None:
        for name in ("keep_rows", "keep_columns"):
            value = getattr(self, name)
            _check(0 < value <= 1, f"oim.{name}", value, "(0, 1]")
        rising = all(a < b for a, b in zip(self.blocks, self.blocks[1:], strict=False))
        inside = all(0 <= b < 1 for b in self.blocks)
        _check(
            bool(self.blocks) and rising and inside,
            "oim.blocks",
            list(self.blocks),
            "shares of the depth in [0, 1), strictly increasing, at least one",
        )
        _check(self.window >= 0, "oim.window", self.window, ">= 0")
        _one_of("oim.metric", self.metric, ("keys", "hidden"))
        _one_of("oim.alignment", self.alignment, ("per_line", "shared"))
        _one_of("oim.position", self.position, ("mean", "kept"))
        _one_of("oim.llm_position", self.llm_position, ("grid", "source"))

    @property
    def is_off(self) -> bool:
        return self.keep_rows == 1 and self.keep_columns == 1

    @property
    def sha256(self) -> str:
        """Digest of the settings; all settings that merge nothing are one."""
        settings = None if self.is_off else dataclasses.asdict(self)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Ramp:
    """A schedule by a few numbers, for any depth. Fields as in luvc.v1.ScheduleRamp."""

    start: float = 0.0
    end: float = 1.0
    shape: Literal["linear", "cosine", "step"] = "linear"
    every: int = 1
    first_keep: float = 1.0

    def __post_init__(self) -> None:
        _check(0 <= self.start < 1, "spu.ramp.start", self.start, "[0, 1)")
        _check(self.start < self.end <= 1, "spu.ramp.end", self.end, "(start, 1]")
        _check(self.every >= 1, "spu.ramp.every", self.every, ">= 1")
        _check(0 < self.first_keep <= 1, "spu.ramp.first_keep", self.first_keep, "(0, 1]")
        _one_of("spu.ramp.shape", self.shape, ("linear", "cosine", "step"))


@dataclass(frozen=True)
class Keep:
    """A schedule layer by layer: the share of visual tokens that enters each layer."""

    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        s = self.shares
        finite = all(math.isfinite(x) and 0 <= x <= 1 for x in s)
        falling = all(a >= b for a, b in zip(s, s[1:], strict=False))
        _check(
            bool(s) and finite and falling and s[-1] == 0,
            "spu.keep.shares",
            list(s),
            "one share in [0, 1] a layer, non-increasing, the last one 0",
        )


Score = Literal["low_pass", "high_pass", "norm", "random"]


@dataclass(frozen=True)
class SpuSettings:
    """Spectrum Pruning Unit. Fields as in luvc.v1.SpuSettings."""

    schedule: Ramp | Keep
    score: Score = "high_pass"
    cutoff: float = 0.5
    axis: Literal["raster", "grid", "channels"] = "grid"
    sampling: Literal["filled", "index"] = "filled"
    normalize: bool = True

    def __post_init__(self) -> None:
        _check(0 < self.cutoff <= 1, "spu.cutoff", self.cutoff, "(0, 1]")
        _one_of("spu.score", self.score, ("low_pass", "high_pass", "norm", "random"))
        _one_of("spu.axis", self.axis, ("raster", "grid", "channels"))
        _one_of("spu.sampling", self.sampling, ("filled", "index"))


@dataclass(frozen=True)
class Compression:
    """What is applied to one request: merging, pruning, and the name shown in usage."""

    name: str = "custom"
    oim: OimSettings = OimSettings()
    spu: SpuSettings | None = None


PROFILES: Mapping[str, Compression] = {
    "off": Compression("off"),
    "lossless": Compression("lossless", spu=SpuSettings(Ramp(start=0.4))),
    "balanced": Compression(
        "balanced", OimSettings(keep_rows=0.75, keep_columns=0.75), SpuSettings(Ramp(start=0.25))
    ),
    "max": Compression(
        "max", OimSettings(keep_rows=0.5, keep_columns=0.5), SpuSettings(Ramp(start=0.1))
    ),
}
DEFAULT_PROFILE = "lossless"


def profile(name: str) -> Compression:
    """The profile of that name. Raises InvalidSettings naming those that exist."""
    _one_of("compression.profile", name, tuple(PROFILES))
    return PROFILES[name]


def compression_from_dict(choice: Mapping[str, Any]) -> Compression:
    """Compression from the field names and values of luvc.v1.Compression; unset fields default."""
    if "settings" not in choice:
        return profile(choice.get("profile") or DEFAULT_PROFILE)
    settings = choice["settings"]
    oim = _build(OimSettings, settings.get("oim", {}))
    return Compression("custom", oim, spu_from_dict(settings["spu"]) if "spu" in settings else None)


def spu_from_dict(fields: Mapping[str, Any]) -> SpuSettings:
    """SpuSettings from the field names and values of luvc.v1.SpuSettings."""
    rest = dict(fields)
    if "keep" in rest:
        schedule: Ramp | Keep = _build(Keep, rest.pop("keep"))
    elif "ramp" in rest:
        schedule = _build(Ramp, rest.pop("ramp"))
    else:
        raise InvalidSettings("spu.schedule", "not set", "ramp or keep")
    return SpuSettings(schedule, **_plain(rest))


_ENUM_PREFIXES = (
    "MERGE_METRIC_",
    "MERGE_ALIGNMENT_",
    "MERGED_POSITION_",
    "LLM_POSITION_",
    "SCHEDULE_SHAPE_",
    "PRUNING_SCORE_",
    "SPECTRUM_AXIS_",
    "SPECTRUM_SAMPLING_",
)


def _build(cls: type[T], fields: Mapping[str, Any]) -> T:
    return cls(**_plain(fields))


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is unspecified, make tuples of lists, and `low_pass` of PRUNING_SCORE_LOW_PASS."""
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, str):
            prefix = next((p for p in _ENUM_PREFIXES if value.startswith(p)), "")
            value = value.removeprefix(prefix).lower()
            if value == "unspecified":
                continue
        plain[name] = tuple(value) if isinstance(value, list) else value
    return plain
