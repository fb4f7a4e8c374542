"""A decoder of its own: a replica comes and goes with the work, and a stop lets answers finish."""

import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from luvc import Client
from luvc.local_stack.free_port import free_port
from luvc.v1 import decoder_pb2, decoder_pb2_grpc

from benchmarks.common.service_processes import replicas_of
from tests.support.asking import IMAGES, LONG, TIMEOUT
from tests.support.services import Service, decoder, encoder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# Ray hands on what replicas count every ten seconds otherwise.
QUICK_METRICS = {"RAY_metrics_report_interval_ms": "1000"}


def replicas(service: Service) -> list[int]:
    return replicas_of(service.child.pid)


def have_answered(port: int) -> int:
    """How many replicas have answered, as Ray's exporter tells."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    counts = [line for line in lines if line.startswith("ray_luvc_requests_total{")]
    return len({re.search(r'replica="([^"]*)"', line)[1] for line in counts if 'code="OK"' in line})  # type: ignore[index]


def wait_until(true: Callable[[], bool], what: str, seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def services(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Service, int]]:
    """Run replicas of two places each, that scale as soon as two images wait.

    The last test stops the decoder.
    """
    logs = tmp_path_factory.mktemp("logs")
    metrics_port = free_port()
    scaling = ("--min-replicas", "1", "--max-replicas", "2", "--target-queued-tokens", "40",
               "--upscale-delay", "1", "--downscale-delay", "1", "--max-active", "2",
               "--ray-cpus", "2", "--metrics-port", str(metrics_port))  # fmt: skip
    with (
        decoder(checkpoint, logs, *scaling, environ=QUICK_METRICS) as back,
        encoder(checkpoint, back.endpoint, logs) as front,
    ):
        yield front.wait_ready(), back.wait_ready(), metrics_port


def test_a_second_replica_comes_and_goes_and_no_request_fails(
    services: tuple[Service, Service, int],
) -> None:
    front, back, metrics_port = services
    stop, texts = threading.Event(), []

    def ask_on(number: int) -> None:
        while not stop.is_set():
            texts.append((number % 4, client.ask("Who?", IMAGES[number % 4], max_tokens=24).text))

    with Client(front.endpoint) as client:
        alone = [client.ask("Who?", IMAGES[i], max_tokens=24).text for i in range(4)]
        assert len(replicas(back)) == 1
        with ThreadPoolExecutor(12) as pool:
            asking = [pool.submit(ask_on, number) for number in range(12)]
            try:
                wait_until(lambda: have_answered(metrics_port) == 2, "answers by two replicas")
                assert len(replicas(back)) == 2
            finally:
                stop.set()
            for one in asking:
                one.result(120)
        # One caller stays, while a replica leaves.
        stop.clear()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask_on, 0)
            try:
                wait_until(lambda: len(replicas(back)) == 1, "one replica again")
            finally:
                stop.set()
            asked.result(120)
    assert len(texts) > 12
    assert all(text == alone[number] for number, text in texts)


def test_a_stopping_decoder_finishes_its_answers(services: tuple[Service, Service, int]) -> None:
    _, back, _ = services
    with grpc.insecure_channel(back.endpoint) as channel:
        request = decoder_pb2.DecoderServiceGenerateRequest(
            messages=LONG.messages, sampling=LONG.sampling
        )
        call = decoder_pb2_grpc.DecoderServiceStub(channel).Generate(request, timeout=TIMEOUT)
        first = next(call)
        ended = threading.Thread(target=back.stop)
        ended.start()
        pieces = [first, *call]
        ended.join()
    assert pieces[-1].usage.completion_token_count > 100
    assert back.child.status == 0
    assert "graceful_shutdown failed" not in back.child.output
