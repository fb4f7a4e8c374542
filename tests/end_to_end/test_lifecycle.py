"""Deadlines, cancelling, missing halves, overload and draining, over real gRPC."""

import contextlib
import threading
import time
from pathlib import Path

import grpc
import pytest
from google.protobuf import duration_pb2
from luvc.local_stack.free_port import free_port
from luvc.v1 import (
    chat_pb2,
    decoder_pb2,
    encoder_pb2,
    encoder_pb2_grpc,
)
from safetensors.torch import load_file, save_file

from luvc_core.models.base import VisionHalf
from luvc_core.models.registry import load_vision
from tests.end_to_end.test_references import refusal
from tests.support import in_process_halves, services
from tests.support.asking import IMAGES, LONG, TIMEOUT, ask, failure, timed, to_decoder
from tests.support.checkpoints import write_checkpoint
from tests.support.services import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_at_the_deadline_the_call_ends_and_so_does_the_work(stack: Stack) -> None:
    start = time.monotonic()
    request = timed(LONG, "late", 0.25)
    code, message, details = failure(lambda: list(stack.front.Generate(request, timeout=TIMEOUT)))
    assert (code, details.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert "0.25 s" in message
    assert time.monotonic() - start < 5
    assert token_count(stack.decoder.wait_log("request late left after")) < 399


def test_the_decoder_keeps_deadlines_by_itself(stack: Stack) -> None:
    request = decoder_pb2.DecoderServiceGenerateRequest(
        messages=LONG.messages,
        sampling=LONG.sampling,
        timeout=duration_pb2.Duration(nanos=300_000_000),
        request_id="tardy",
    )
    code, _, _ = failure(lambda: list(stack.back.Generate(request, timeout=TIMEOUT)))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert token_count(stack.decoder.wait_log("request tardy left after")) < 399


def test_cancelling_stops_the_work(stack: Stack) -> None:
    call = stack.front.Generate(timed(LONG, "dropped", 50), timeout=TIMEOUT)
    next(call)
    call.cancel()
    assert token_count(stack.decoder.wait_log("request dropped left after")) < 399


def token_count(line: str) -> int:
    return int(line.split(" after ")[1].split()[0])


async def test_without_a_decoder_calls_are_unavailable_in_time(vision: VisionHalf) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    async with in_process_halves.encoder(vision, nobody) as (_, front):
        # Before the deadline, which would end it otherwise.
        request = timed(ask(IMAGES[0], "x"), "lonely", 4)
        start = time.monotonic()
        code, message, _ = await refusal(front.Generate(request, timeout=TIMEOUT))
        assert time.monotonic() - start < 4
    assert code is grpc.StatusCode.UNAVAILABLE
    assert nobody in message


async def test_halves_of_different_checkpoints_refuse_each_other(
    stack: Stack, tmp_path: Path
) -> None:
    other = write_checkpoint(tmp_path / "another")
    weights = load_file(other / "model.safetensors")
    name = next(n for n in sorted(weights) if "merger" in n)
    save_file(weights | {name: weights[name] + 1}, other / "model.safetensors")
    vision = load_vision(str(other), "cpu", "float32")
    async with in_process_halves.encoder(vision, stack.decoder.endpoint) as (_, front):
        code, message, details = await refusal(front.Generate(ask(IMAGES[0], "x")))
        assert (code, details.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IDENTITY_MISMATCH")
        assert "qwen2_vl/another" in message
        assert "qwen2_vl/random-qwen2_vl" in message
        # The decoder says the same by itself.
        media = [chat_pb2.Media(data=IMAGES[0])]
        tokens = (await front.Encode(encoder_pb2.EncodeRequest(media=media))).vision_tokens
    code, _, _ = failure(lambda: list(stack.back.Generate(to_decoder(tokens))))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


def test_full_means_refused_and_stopping_lets_answers_finish(
    stack: Stack, checkpoint: Path, tmp_path: Path
) -> None:
    flags = ("--max-active", "1", "--max-waiting", "0")
    with (
        services.encoder(checkpoint, stack.decoder.endpoint, tmp_path, *flags) as encoder,
        grpc.insecure_channel(encoder.wait_ready().endpoint) as channel,
    ):
        front = encoder_pb2_grpc.EncoderServiceStub(channel)
        call = front.Generate(LONG, timeout=TIMEOUT)
        first = next(call)
        code, _, details = failure(lambda: list(front.Generate(ask("x"), timeout=TIMEOUT)))
        assert (code, details.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        ended = threading.Thread(target=encoder.stop)
        ended.start()
        with (
            contextlib.suppress(grpc.FutureTimeoutError),
            grpc.insecure_channel(encoder.endpoint) as late,
        ):
            wait_until_refused(encoder_pb2_grpc.EncoderServiceStub(late))
        pieces = [first, *call]
        ended.join()
    assert pieces[-1].usage.completion_token_count > 100
    assert encoder.child.status == 0


def wait_until_refused(front: encoder_pb2_grpc.EncoderServiceStub) -> None:
    """Wait until new calls end UNAVAILABLE, once the service has been told to stop."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with pytest.raises(grpc.RpcError) as caught:
            list(front.Generate(ask("x"), timeout=TIMEOUT))
        if caught.value.code() is grpc.StatusCode.UNAVAILABLE:
            return
        time.sleep(0.05)
    raise AssertionError("new calls are still taken")
