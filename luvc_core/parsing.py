"""Compression from the fields of a message: names and values as in luvc/v1/compression.proto."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from luvc_core.config import Compression, Keep, OimSettings, Ramp, SpuSettings
from luvc_core.errors import InvalidSettings
from luvc_core.profiles import DEFAULT_PROFILE, profile


def compression_from_dict(choice: Mapping[str, Any]) -> Compression:
    """Compression from the field names and values of luvc.v1.Compression; unset fields default.

    Raises InvalidSettings for a field or value that does not exist.
    """
    if "settings" not in choice:
        return profile(choice.get("profile") or DEFAULT_PROFILE)
    settings = choice["settings"]
    _check_names("compression.settings", settings, ("oim", "spu"))
    oim = _build("oim", OimSettings, settings.get("oim", {}))
    return Compression("custom", oim, spu_from_dict(settings["spu"]) if "spu" in settings else None)


def spu_from_dict(fields: Mapping[str, Any]) -> SpuSettings:
    """SpuSettings from the field names and values of luvc.v1.SpuSettings."""
    rest = dict(fields)
    if "keep" in rest:
        # Protobuf leaves an empty list out.
        schedule: Ramp | Keep = _build("spu.keep", Keep, {"shares": [], **rest.pop("keep")})
    elif "ramp" in rest:
        schedule = _build("spu.ramp", Ramp, rest.pop("ramp"))
    else:
        raise InvalidSettings("spu.schedule", "not set", "ramp or keep")
    return _build("spu", SpuSettings, {"schedule": schedule, **rest})


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
SettingsT = TypeVar("SettingsT", OimSettings, SpuSettings, Ramp, Keep)


def _build(where: str, cls: type[SettingsT], fields: Mapping[str, Any]) -> SettingsT:
    _check_names(where, fields, tuple(f.name for f in dataclasses.fields(cls)))
    return cls(**_plain(fields))


def _check_names(where: str, fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in fields:
        if name not in known:
            raise InvalidSettings(f"{where}.{name}", "unknown field", ", ".join(known))


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is unspecified, make tuples of lists, and `low_pass` of PRUNING_SCORE_LOW_PASS."""
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        prefix = next((p for p in _ENUM_PREFIXES if str(value).startswith(p)), "")
        if prefix:
            value = str(value).removeprefix(prefix).lower()
            if value == "unspecified":
                continue
        plain[name] = tuple(value) if isinstance(value, list) else value
    return plain
