"""Rich error details (google.rpc.Status) in trailing metadata, without googleapis installed.

The three messages are declared in a pool of their own, so that they neither need nor clash with
the package googleapis-common-protos; on the wire they are the same.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

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
# Trailers travel as HTTP/2 headers, which peers cut off at 8 KiB. A message is in them three times:
# as the status text, in the rich status, and as the description of a field violation.
MAX_CHARACTERS = 800
Field = descriptor_pb2.FieldDescriptorProto


@dataclass(frozen=True)
class Violation:
    """A part of the request that cannot be accepted, and why."""

    field: str
    description: str


@dataclass(frozen=True)
class Details:
    """Details of a failed call beyond its code and message.

    Attributes:
        reason: a constant such as INVALID_MEDIA.
        violations: the parts of the request that are at fault.
        request_id: the id under which the server logs the request.
        retry_after: seconds after which trying again makes sense; None where the server does not
            say.
    """

    reason: str
    violations: tuple[Violation, ...] = ()
    request_id: str = ""
    retry_after: float | None = None


@dataclass(frozen=True)
class Status:
    """The status of a failed call, which a server sends instead of an answer."""

    code: grpc.StatusCode
    message: str
    details: Details

    @property
    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The rich details, in the form that `context.abort` takes."""
        number: int = self.code.value[0]
        return ((DETAILS_KEY, to_bytes(number, self.message, self.details)),)


class DescribedError(Protocol):
    """An exception that says how a call fails by it. Its text is meant for the caller."""

    @property
    def code(self) -> str:
        """Name of a gRPC status."""

    @property
    def field(self) -> str:
        """The part of the request at fault; empty where none is."""

    @property
    def retry_after(self) -> float | None:
        """Seconds after which trying again makes sense; None where that is not known."""


def status_from(error: DescribedError, request_id: str) -> Status:
    """Build the status of a call that failed by an error meant for its caller."""
    message = _shorten(str(error))
    violations = (Violation(error.field, message),) if error.field else ()
    details = Details(reason_of(error), violations, request_id, error.retry_after)
    return Status(grpc.StatusCode[error.code], message, details)


def internal_status(message: str, request_id: str) -> Status:
    """Build the status of a call that failed by an error kept from its caller."""
    return Status(grpc.StatusCode.INTERNAL, message, Details("INTERNAL", request_id=request_id))


def reason_of(error: object) -> str:
    """Return the constant for an exception's class: INVALID_MEDIA for InvalidMedia."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).upper()


def _shorten(text: str) -> str:
    """Cut text to what fits a trailer, and replace what UTF-8 cannot encode."""
    short = text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + " ..."
    return short.encode("utf-8", "replace").decode()


def to_bytes(code: int, text: str, details: Details) -> bytes:
    """Build the value of `grpc-status-details-bin`: a serialised google.rpc.Status.

    Args:
        code: number of the gRPC status.
        text: the message of the status.
        details: what is sent beside it, as ErrorInfo, BadRequest and RetryInfo.
    """
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
        # A timedelta, because the Duration of this pool is another class than duration_pb2's.
        hint = _RetryInfo(retry_delay=timedelta(seconds=details.retry_after))
        status.details.add(type_url=_TYPE_URL + "RetryInfo", value=hint.SerializeToString())
    return bytes(status.SerializeToString())


def from_metadata(trailing: Iterable[Any] | None) -> Details | None:
    """Read the details of a failed call; return None where this service sent none."""
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
# Fields by message, each as (name, number, type, message type). Fields that are messages are
# repeated, except for a Duration. A map is a repeated message of key and value.
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
