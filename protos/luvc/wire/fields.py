"""Fields of messages as plain Python values."""

import math
from typing import Any

from google.protobuf import duration_pb2, json_format, message


def fields_of(source: message.Message) -> dict[str, Any]:
    """Return the fields that are set, by their names in the proto.

    Values are numbers, strings, lists and dicts. Enum values are their names, or numbers where they
    have none.
    """
    fields = json_format.MessageToDict(source, preserving_proto_field_name=True)
    return {name: _plain(source, name, value) for name, value in fields.items()}


def _plain(source: message.Message, name: str, value: Any) -> Any:
    field = source.DESCRIPTOR.fields_by_name[name]
    if field.message_type:
        return fields_of(getattr(source, name)) if isinstance(value, dict) else value
    # MessageToDict writes numbers that are not finite, and 64-bit integers, as strings.
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return [float(v) for v in value] if isinstance(value, list) else float(value)
    if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
        return int(value)
    return value


def seconds_of(duration: duration_pb2.Duration) -> float:
    """Return a Duration in seconds."""
    return float(duration.seconds) + float(duration.nanos) / 1e9


def duration_of(seconds: float) -> duration_pb2.Duration:
    """Return seconds, which are not negative, as a Duration."""
    nanos = math.floor(seconds * 1e9)
    return duration_pb2.Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
