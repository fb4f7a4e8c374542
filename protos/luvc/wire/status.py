"""Rich error details (google.rpc.Status) in the trailing metadata, without googleapis installed.

The three messages are declared in a pool of their own, so that they neither need nor clash with
the package googleapis-common-protos; on the wire they are the same.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message,
    message_factory,
)

from luvc.wire.fields import seconds_of

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "luvc"
# Trailers travel as HTTP/2 headers, which peers cut off at 8 KiB; a message travels thrice.
MAX_CHARACTERS = 800
Field = descriptor_pb2.FieldDescriptorProto


@dataclass(frozen=True)
class Violation:
    """A part of the request that cannot be accepted, and why."""

    field: str
    description: str


@dataclass(frozen=True)
class Details:
    """What a failed call says beyond its code. `reason` is a constant such as INVALID_MEDIA.

    retry_after: seconds after which trying again makes sense; None where the server does not say.
    """

    reason: str
    violations: tuple[Violation, ...] = ()
    request_id: str = ""
    retry_after: float | None = None


@dataclass(frozen=True)
class Status:
    """How a call fails: what a server sends in place of an answer."""

    code: grpc.StatusCode
    message: str
    details: Details

    @property
    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The rich details, for `context.abort` and its kin."""
        number: int = self.code.value[0]
        return ((DETAILS_KEY, to_bytes(number, self.message, self.details)),)


def reason_of(error: BaseException) -> str:
    """The constant for an exception's class: INVALID_MEDIA for InvalidMedia."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).upper()


def shorten(text: str) -> str:
    """Text that fits a trailer, and can be encoded."""
    short = text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + " ..."
    return short.encode("utf-8", "replace").decode()


def to_bytes(code: int, text: str, details: Details) -> bytes:
    """The value of `grpc-status-details-bin`: a google.rpc.Status and what it says more."""
    info = _ErrorInfo(reason=details.reason, domain=DOMAIN)
    if details.request_id:
        info.metadata.add(key="request_id", value=details.request_id)
    status = _Status(code=code, message=text)
    status.details.add(type_url=_TYPE_URL + "ErrorInfo", value=info.SerializeToString())
    if details.violations:
        bad = _BadRequest()
        for violation in details.violations:
            bad.field_violations.add(field=violation.field, description=violation.description)
        status.details.add(type_url=_TYPE_URL + "BadRequest", value=bad.SerializeToString())
    if details.retry_after is not None:
        # A timedelta, since this pool's Duration is another class than the one everybody knows.
        hint = _RetryInfo(retry_delay=timedelta(seconds=details.retry_after))
        status.details.add(type_url=_TYPE_URL + "RetryInfo", value=hint.SerializeToString())
    return bytes(status.SerializeToString())


def from_metadata(trailing: Iterable[Any] | None) -> Details | None:
    """The details of a failed call; None where there are none of this domain."""
    for key, value in trailing or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            with contextlib.suppress(message.DecodeError):
                return _from_bytes(value)
    return None


def _from_bytes(data: bytes) -> Details | None:
    reason, request_id, violations, retry_after = "", "", [], None
    for item in _Status.FromString(data).details:
        if item.type_url.endswith("google.rpc.ErrorInfo"):
            info = _ErrorInfo.FromString(item.value)
            reason = info.reason if info.domain == DOMAIN else ""
            request_id = next((m.value for m in info.metadata if m.key == "request_id"), "")
        elif item.type_url.endswith("google.rpc.BadRequest"):
            found = _BadRequest.FromString(item.value).field_violations
            violations = [Violation(v.field, v.description) for v in found]
        elif item.type_url.endswith("google.rpc.RetryInfo"):
            retry_after = seconds_of(_RetryInfo.FromString(item.value).retry_delay)
    return Details(reason, tuple(violations), request_id, retry_after) if reason else None


_TYPE_URL = "type.googleapis.com/google.rpc."
_STRING, _INT32, _MESSAGE = Field.TYPE_STRING, Field.TYPE_INT32, Field.TYPE_MESSAGE
_ANY = ".google.protobuf.Any"
# message -> (field, number, type, message type). Messages repeat, but for a Duration; a map is a
# repeated key/value message.
_MESSAGES: dict[str, list[tuple[str, int, Any, str]]] = {
    "Status": [
        ("code", 1, _INT32, ""),
        ("message", 2, _STRING, ""),
        ("details", 3, _MESSAGE, _ANY),
    ],
    "ErrorInfo": [
        ("reason", 1, _STRING, ""),
        ("domain", 2, _STRING, ""),
        ("metadata", 3, _MESSAGE, ".google.rpc.Entry"),
    ],
    "Entry": [("key", 1, _STRING, ""), ("value", 2, _STRING, "")],
    "BadRequest": [("field_violations", 1, _MESSAGE, ".google.rpc.FieldViolation")],
    "FieldViolation": [("field", 1, _STRING, ""), ("description", 2, _STRING, "")],
    "RetryInfo": [("retry_delay", 1, _MESSAGE, ".google.protobuf.Duration")],
}


def _declare() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="luvc/google_rpc.proto",
        package="google.rpc",
        syntax="proto3",
        dependency=[any_pb2.DESCRIPTOR.name, duration_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        declared = file.message_type.add(name=name)
        for field, number, kind, repeats in fields:
            single = not repeats or repeats.endswith("Duration")
            label = Field.LABEL_OPTIONAL if single else Field.LABEL_REPEATED
            declared.field.add(
                name=field, number=number, type=kind, label=label, type_name=repeats or None
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(duration_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    made = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name: made[f"google.rpc.{name}"] for name in _MESSAGES}


_classes = _declare()
_Status, _ErrorInfo, _BadRequest, _RetryInfo = (
    _classes[n] for n in ("Status", "ErrorInfo", "BadRequest", "RetryInfo")
)
