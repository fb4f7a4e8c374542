"""Run both services as processes of their own, on free ports, and never leave them behind."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from luvc.local_stack.free_port import free_port
from luvc.v1 import decoder_pb2, decoder_pb2_grpc, encoder_pb2_grpc

from benchmarks.common.service_processes import Service, service
from tests.support.asking import TIMEOUT, ask
from tests.support.collector import Collector, collector

__all__ = [
    "Service", "decoder", "encoder", "free_port", "one_ray", "service", "stack", "wait_serves",
]  # fmt: skip


@contextlib.contextmanager
def decoder(model: Path, folder: Path, *flags: str, **options: Any) -> Iterator[Service]:
    """Start a decoder of a checkpoint, which may not be ready yet.

    Args:
        model: the checkpoint.
        folder: for logs.
        flags: of the service.
        options: of `service`.
    """
    port = free_port()
    with service(
        "decoder", f"127.0.0.1:{port}", folder / f"decoder-{port}.log",
        "--model", str(model), "--port", str(port), "--http-port", str(free_port()),
        # The images of tests are too small for pruning to pay.
        "--pruning", "always", *flags, **options,
    ) as running:  # fmt: skip
        yield running


@contextlib.contextmanager
def one_ray(folder: Path) -> Iterator[Callable[[Path], Service]]:
    """Start a decoder that serves one model after another, as it is told.

    `wait_serves` waits for each.
    """
    orders, port = folder / "orders", free_port()
    orders.touch()
    with service(
        "decoder", f"127.0.0.1:{port}", folder / "decoder.log", str(orders), "--port", str(port),
        "--http-port", str(free_port()), "--pruning", "always", "--ray-cpus", "2",
        module="tests.support.one_ray",
    ) as running:  # fmt: skip

        def serve(model: Path) -> Service:
            orders.write_text(str(model))
            return running

        yield serve


def wait_serves(decoder: Service, family: str, seconds: float = 120) -> None:
    """Wait until a model of this family answers, and no earlier one.

    Args:
        decoder: the service.
        family: of the model.
        seconds: to wait.
    """
    end, asked = time.monotonic() + seconds, decoder_pb2.GetModelInfoRequest()
    with grpc.insecure_channel(decoder.endpoint) as channel:
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
        while decoder.child.status is None and time.monotonic() < end:
            with contextlib.suppress(grpc.RpcError):
                if stub.GetModelInfo(asked, timeout=5).identity.family == family:
                    return
            time.sleep(0.1)
    raise AssertionError(f"no {family!r} at the decoder:\n{decoder.child.output}")


@contextlib.contextmanager
def encoder(model: Path, decoder: str, folder: Path, *flags: str) -> Iterator[Service]:
    """Start an encoder of a checkpoint, which may not be ready yet.

    Args:
        model: the checkpoint.
        decoder: its endpoint.
        folder: for logs.
        flags: of the service.
    """
    port = free_port()
    with service(
        "encoder", f"127.0.0.1:{port}", folder / f"encoder-{port}.log",
        "--model", str(model), "--port", str(port), "--decoder", decoder, *flags,
    ) as running:  # fmt: skip
        yield running


@dataclass
class Stack:
    """Both services, and a way to talk to each.

    Attributes:
        front: asks the encoder.
        back: asks the decoder.
        collecting: what the decoder traces.
    """

    encoder: Service
    decoder: Service
    front: encoder_pb2_grpc.EncoderServiceStub
    back: decoder_pb2_grpc.DecoderServiceStub
    collecting: Collector


# Bounds that the images of the tests never meet, and videos can.
VIDEO_LIMITS = ("--max-video-bytes", "100000", "--max-video-pixels", "100000", "--max-videos", "2")


@pytest.fixture(scope="session")
def stack(
    checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Run the two halves of a checkpoint, ready."""
    checkpoint, logs = checkpoints("qwen2_vl"), tmp_path_factory.mktemp("logs")
    with (
        collector() as collecting,
        decoder(checkpoint, logs, "--ray-cpus", "2", environ=collecting.environ) as back_service,
        encoder(checkpoint, back_service.endpoint, logs, *VIDEO_LIMITS) as front_service,
        grpc.insecure_channel(front_service.endpoint) as front,
        grpc.insecure_channel(back_service.endpoint) as back,
    ):
        front_service.wait_ready()
        back_service.wait_ready()
        asked = encoder_pb2_grpc.EncoderServiceStub(front)
        # The first question finds nothing connected: no test with a short deadline shall be it.
        list(asked.Generate(ask("Hello"), timeout=TIMEOUT))
        answering = decoder_pb2_grpc.DecoderServiceStub(back)
        yield Stack(front_service, back_service, asked, answering, collecting)
