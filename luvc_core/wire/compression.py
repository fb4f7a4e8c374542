"""Compression profiles and settings; names and values as in luvc/v1/compression.proto."""

from dataclasses import asdict
from typing import Any

from google.protobuf import json_format
from luvc.v1 import compression_pb2
from luvc.wire.fields import fields_of

from luvc_core.compression.profiles import BUILT_IN, Profiles
from luvc_core.compression.settings import Compression, SpuSettings
from luvc_core.compression.settings_from_dict import compression_from_dict, spu_from_dict

_SPU_ENUMS = {
    "score": "PRUNING_SCORE_",
    "axis": "SPECTRUM_AXIS_",
    "sampling": "SPECTRUM_SAMPLING_",
}


def read_compression(
    message: compression_pb2.Compression, default: str, profiles: Profiles = BUILT_IN
) -> Compression:
    """Read the compression that a caller chose, by name or by settings.

    Args:
        message: the choice, perhaps empty.
        default: the profile where it is.
        profiles: those that may be named.

    Raises:
        InvalidSettings: for a profile or value that does not exist.
    """
    fields = fields_of(message)
    return compression_from_dict(fields, profiles) if fields else profiles.get(default)


def write_spu(spu: SpuSettings) -> compression_pb2.SpuSettings:
    """Write the settings of pruning in the LLM, with every field set."""
    fields: dict[str, Any] = asdict(spu)
    schedule = fields.pop("schedule")
    if "shares" in schedule:
        fields["keep"] = {"shares": list(schedule["shares"])}
    else:
        shape = "SCHEDULE_SHAPE_" + schedule["shape"].upper()
        fields["ramp"] = schedule | {"shape": shape}
    for name, prefix in _SPU_ENUMS.items():
        fields[name] = prefix + fields[name].upper()
    message: compression_pb2.SpuSettings = json_format.ParseDict(
        fields, compression_pb2.SpuSettings()
    )
    return message


def read_spu(message: compression_pb2.SpuSettings) -> SpuSettings:
    """Read the settings of pruning in the LLM. Raises InvalidSettings for values out of range."""
    return spu_from_dict(fields_of(message))
