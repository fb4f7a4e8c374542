"""Answers as the client returns them, and their usage as plain JSON values."""

from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from luvc.v1 import chat_pb2, encoder_pb2, usage_pb2


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Attributes:
        text: what was generated.
        finish_reason: "stop" or "length".
        usage: token counts, bytes and times, as in luvc.v1.Usage.
    """

    text: str
    finish_reason: str
    usage: usage_pb2.Usage

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON values, with times in milliseconds."""
        return {
            "answer": self.text,
            "finish_reason": self.finish_reason,
            "usage": usage_dict(self.usage),
        }


def usage_dict(usage: usage_pb2.Usage) -> dict[str, Any]:
    """Return usage as JSON values: every count as a number, `times_ms` in milliseconds."""
    plain = json_format.MessageToDict(
        usage, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    plain.pop("times", None)
    for name in ("wire_byte_count", "uncompressed_byte_count"):
        plain[name] = getattr(usage, name)
    plain["times_ms"] = {
        field.name: round(value.ToNanoseconds() / 1e6, 3)
        for field, value in usage.times.ListFields()
    }
    return plain


def finish(text: str, last: encoder_pb2.GenerateResponse) -> Answer:
    """Build the answer from all text and the last message of its stream."""
    reason = chat_pb2.FinishReason.Name(last.finish_reason)
    return Answer(text, reason.removeprefix("FINISH_REASON_").lower(), last.usage)
