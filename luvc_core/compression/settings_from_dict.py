"""Settings from the fields of messages and files, named as in luvc/v1/compression.proto."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from luvc_core.compression.profiles import BUILT_IN, DEFAULT_PROFILE, Profiles
from luvc_core.compression.settings import Compression, Keep, OimSettings, Ramp, SpuSettings
from luvc_core.errors import InvalidSettings


def compression_from_dict(choice: Mapping[str, Any], profiles: Profiles = BUILT_IN) -> Compression:
    """Build a Compression from the field names and values of luvc.v1.Compression.

    Fields that are not set have their defaults. profiles: those that may be named. Raises
    InvalidSettings for a field or value that does not exist.
    """
    if "settings" not in choice:
        return profiles.get(choice.get("profile") or DEFAULT_PROFILE)
    return settings_from_dict("custom", choice["settings"], "compression.settings")


def settings_from_dict(name: str, settings: Mapping[str, Any], where: str) -> Compression:
    """Build a Compression from the field names and values of luvc.v1.CompressionSettings.

    Args:
        name: of the compression.
        settings: by field name.
        where: what errors call the settings themselves.

    Raises:
        InvalidSettings: for a field or value that does not exist.
    """
    _check_names(where, settings, ("oim", "spu", "detailed"))
    oim = _build("oim", OimSettings, settings.get("oim", {}))
    stages = {
        stage: spu_from_dict(settings[stage], stage)
        for stage in ("spu", "detailed")
        if stage in settings
    }
    return Compression(name, oim, **stages)


def spu_from_dict(fields: Mapping[str, Any], where: str = "spu") -> SpuSettings:
    """Build SpuSettings from the field names and values of luvc.v1.SpuSettings.

    where: what errors call the message of an unknown field; errors of values always say `spu`.
    """
    _check_table(where, fields, ("ramp", "keep", *_SPU_FIELDS))
    rest = dict(fields)
    if "keep" in rest:
        keep = rest.pop("keep")
        _check_table("spu.keep", keep, ("shares",))
        # Protobuf leaves an empty list out.
        schedule: Ramp | Keep = _build("spu.keep", Keep, {"shares": [], **keep})
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
_SPU_FIELDS = tuple(f.name for f in dataclasses.fields(SpuSettings) if f.name != "schedule")
SettingsT = TypeVar("SettingsT", OimSettings, SpuSettings, Ramp, Keep)


def _build(where: str, cls: type[SettingsT], fields: Mapping[str, Any]) -> SettingsT:
    _check_names(where, fields, tuple(f.name for f in dataclasses.fields(cls)))
    return cls(**_plain(fields))


def _check_table(where: str, fields: object, known: tuple[str, ...]) -> None:
    """Raise InvalidSettings for what is no table.

    A message always is one; what people write in a file may be anything.
    """
    if not isinstance(fields, Mapping):
        raise InvalidSettings(where, f"got {fields!r}", f"fields: {', '.join(known)}")


def _check_names(where: str, fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    _check_table(where, fields, known)
    for name in fields:
        if name not in known:
            raise InvalidSettings(f"{where}.{name}", "unknown field", ", ".join(known))


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Drop unspecified enums, turn lists to tuples, and PRUNING_SCORE_LOW_PASS to `low_pass`."""
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        prefix = next((p for p in _ENUM_PREFIXES if str(value).startswith(p)), "")
        if prefix:
            value = str(value).removeprefix(prefix).lower()
            if value == "unspecified":
                continue
        plain[name] = tuple(value) if isinstance(value, list) else value
    return plain
