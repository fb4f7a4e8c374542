"""Every exception on purpose has a status in both services, and only the others are INTERNAL."""

import logging
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from luvc.wire.status import DETAILS_KEY, Details, Status, Violation, from_metadata

import decoder_service.errors
import encoder_service.errors
from luvc_core.errors import InvalidInput, InvalidProfiles, Overloaded, PromptTooLong, ServiceError

TABLES = [encoder_service.errors.status_of, decoder_service.errors.status_of]
EXPECTED = {
    "InvalidInput": "INVALID_ARGUMENT",
    "InvalidMedia": "INVALID_ARGUMENT",
    "InvalidSettings": "INVALID_ARGUMENT",
    "InvalidProfiles": "INVALID_ARGUMENT",
    "PromptTooLong": "INVALID_ARGUMENT",
    "IdentityMismatch": "FAILED_PRECONDITION",
    "Unauthenticated": "UNAUTHENTICATED",
    "CheckpointError": "FAILED_PRECONDITION",
    "TokensExpired": "NOT_FOUND",
    "TokensLost": "UNAVAILABLE",
    "Superseded": "ABORTED",
    "Overloaded": "RESOURCE_EXHAUSTED",
    "DeadlineExceeded": "DEADLINE_EXCEEDED",
    "Unavailable": "UNAVAILABLE",
}
Table = Callable[[BaseException, str], Status]


def tree(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for child in root.__subclasses__():
        if child.__module__.startswith("luvc_core"):
            yield child
            yield from tree(child)


def make(kind: type[ServiceError]) -> ServiceError:
    if kind is PromptTooLong:
        return PromptTooLong(600, 511)
    if kind is InvalidProfiles:
        return InvalidProfiles("own.toml", "a.spu", "is wrong", "what is right")
    if issubclass(kind, InvalidInput):
        return kind("messages[0]", "is wrong", "what is right")
    return kind("what went wrong")


def test_the_table_is_complete() -> None:
    assert {kind.__name__ for kind in tree()} == set(EXPECTED)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", list(tree()), ids=lambda kind: kind.__name__)
def test_every_error_has_its_code_and_details(table: Table, kind: type[ServiceError]) -> None:
    error = make(kind)
    status = table(error, "r1")
    assert status.code.name == EXPECTED[kind.__name__]
    assert status.message == str(error)
    read = from_metadata(status.trailing_metadata)
    assert read == status.details
    assert read.request_id == "r1"
    assert bool(read.violations) == issubclass(kind, InvalidInput)


@pytest.mark.parametrize("table", TABLES)
def test_a_full_queue_says_when_to_come_back(table: Table) -> None:
    status = table(Overloaded("full"), "r")
    assert from_metadata(status.trailing_metadata) == status.details
    sent = status_pb2.Status.FromString(status.trailing_metadata[0][1])
    hint = error_details_pb2.RetryInfo()
    assert sent.details[1].Unpack(hint)
    assert hint.retry_delay.ToTimedelta().total_seconds() == Overloaded.retry_after > 0


@pytest.mark.parametrize("table", TABLES)
def test_the_unexpected_is_logged_and_not_told(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        raise ZeroDivisionError("secret")
    except ZeroDivisionError as error:
        with caplog.at_level(logging.ERROR):
            status = table(error, "r7")
    assert status.code is grpc.StatusCode.INTERNAL
    assert "secret" not in status.message
    assert "r7" in status.message
    assert "Traceback" not in status.message
    assert "secret" in caplog.text


@pytest.mark.parametrize("table", TABLES)
def test_long_messages_are_cut_and_can_be_sent(table: Table) -> None:
    status = table(InvalidInput("x", "\ud800" + "y" * 100_000), "r")
    assert len(status.message) < 1000
    assert len(status.trailing_metadata[0][1]) < 4000


def test_an_answer_of_the_decoder_is_passed_on() -> None:
    said = Status(grpc.StatusCode.INVALID_ARGUMENT, "no", Details("INVALID_INPUT"))
    refusal = encoder_service.errors.DecoderRefused(said)
    assert encoder_service.errors.status_of(refusal, "r") is said


def test_details_are_what_googleapis_reads() -> None:
    details = Details("INVALID_MEDIA", (Violation("media[1]", "no picture"),), "r1")
    sent = Status(grpc.StatusCode.INVALID_ARGUMENT, "é", details).trailing_metadata
    assert sent[0][0] == DETAILS_KEY
    status = status_pb2.Status.FromString(sent[0][1])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert (status.code, status.message) == (3, "é")
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "INVALID_MEDIA", "luvc", {"request_id": "r1"},
    )  # fmt: skip
    assert [(v.field, v.description) for v in bad.field_violations] == [("media[1]", "no picture")]


@pytest.mark.parametrize("value", [b"", b"\xff\xff", "text"])
def test_details_of_others_are_ignored(value: str | bytes) -> None:
    assert from_metadata([("x", "y"), (DETAILS_KEY, value)]) is None
    assert from_metadata(None) is None
