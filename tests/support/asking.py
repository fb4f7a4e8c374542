"""Requests of the service tests, and what a refusal must look like."""

from collections.abc import Callable

import grpc
import pytest
from google.protobuf import duration_pb2
from luvc.v1 import encoder_pb2
from luvc.wire.status import Details, from_metadata

from benchmarks.common.proto_requests import IMAGES, ask, named, to_decoder

__all__ = ["IMAGES", "LONG", "TIMEOUT", "ask", "failure", "named", "timed", "to_decoder"]

TIMEOUT = 60.0
LONG = ask("Tell me everything.", max_tokens=400)


def timed(request: encoder_pb2.GenerateRequest, name: str, seconds: float) -> object:
    """Copy a request, with an id and a timeout.

    Args:
        request: stays as it is.
        name: the id.
        seconds: the timeout.
    """
    copy = encoder_pb2.GenerateRequest()
    copy.CopyFrom(request)
    copy.request_id = name
    copy.timeout.CopyFrom(duration_pb2.Duration(nanos=int(seconds % 1 * 1e9), seconds=int(seconds)))
    return copy


def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, Details]:
    """Return how a call fails: always with details of ours, never with a traceback."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    text = error.details()
    assert text
    assert "Traceback" not in text
    assert 'File "' not in text
    details = from_metadata(error.trailing_metadata())
    assert details is not None, error
    return error.code(), text, details
