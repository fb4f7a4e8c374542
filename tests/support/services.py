"""Both services as processes of their own, on free ports, never left behind."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from luvc.local_stack.child_process import Child
from luvc.local_stack.free_port import free_port
from luvc.v1 import decoder_pb2, decoder_pb2_grpc, encoder_pb2_grpc

from tests.support.asking import TIMEOUT, ask
from tests.support.collector import Collector, collector

# Small models gain nothing from threads, and lose much where other processes want the CPUs.
COMMON = ("--dtype", "float32", "--device", "cpu", "--torch-threads", "1")
STOP_SECONDS = 45.0


@dataclass
class Service:
    """A running service. Its log holds what it says."""

    name: str
    endpoint: str
    child: Child

    def wait_ready(self, seconds: float = 240) -> "Service":
        self.wait_log(f"{self.name} ready on {self.endpoint}", seconds)
        return self

    def wait_log(self, text: str, seconds: float = 20) -> str:
        """The first line of the log that holds `text`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self.child.said.splitlines():
                if text in line:
                    return line
            if self.child.status is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no {text!r} in the log of {self.name}:\n{self.child.said}")

    def stop(self) -> int:
        """Ask it to stop; returns its exit status."""
        return self.child.stop(STOP_SECONDS)


@contextlib.contextmanager
def service(
    name: str,
    endpoint: str,
    log: Path,
    *flags: str,
    environ: Mapping[str, str] | None = None,
    module: str | None = None,
) -> Iterator[Service]:
    """`python -m <name>_service`, or another module, started but perhaps not ready. environ:
    variables besides those of this process, which hands on none of the services' or of Ray's."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LUVC_", "RAY_"))}
    command = [sys.executable, "-m", module or f"{name}_service", *flags, *COMMON]
    child = Child(command, log, inherited | dict(environ or {}))
    try:
        yield Service(name, endpoint, child)
    finally:
        # At once: how a service stops when it is asked to has tests of its own.
        child.stop(0)


@contextlib.contextmanager
def decoder(model: Path, folder: Path, *flags: str, **options: Any) -> Iterator[Service]:
    port = free_port()
    with service(
        "decoder", f"127.0.0.1:{port}", folder / f"decoder-{port}.log",
        "--model", str(model), "--port", str(port), "--http-port", str(free_port()),
        # The pictures of tests are too small for pruning to pay.
        "--pruning", "always", *flags, **options,
    ) as running:  # fmt: skip
        yield running


@contextlib.contextmanager
def one_ray(folder: Path) -> Iterator[Callable[[Path], Service]]:
    """A decoder that serves one model after another, as it is told; `wait_serves` says when."""
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


def wait_serves(decoder: Service, family: str, seconds: float = 240) -> None:
    """Until a model of this family answers, and no earlier one."""
    end, asked = time.monotonic() + seconds, decoder_pb2.GetModelInfoRequest()
    with grpc.insecure_channel(decoder.endpoint) as channel:
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
        while decoder.child.status is None and time.monotonic() < end:
            with contextlib.suppress(grpc.RpcError):
                if stub.GetModelInfo(asked, timeout=5).identity.family == family:
                    return
            time.sleep(0.1)
    raise AssertionError(f"no {family!r} at the decoder:\n{decoder.child.said}")


@contextlib.contextmanager
def encoder(model: Path, decoder: str, folder: Path, *flags: str) -> Iterator[Service]:
    port = free_port()
    with service(
        "encoder", f"127.0.0.1:{port}", folder / f"encoder-{port}.log",
        "--model", str(model), "--port", str(port), "--decoder", decoder, *flags,
    ) as running:  # fmt: skip
        yield running


@dataclass
class Stack:
    """Both services, and a way to talk to each. collecting: what the decoder traces."""

    encoder: Service
    decoder: Service
    front: encoder_pb2_grpc.EncoderServiceStub
    back: decoder_pb2_grpc.DecoderServiceStub
    collecting: Collector


# Bounds that the pictures of the tests never meet, and clips can.
VIDEO_LIMITS = ("--max-video-bytes", "100000", "--max-video-pixels", "100000", "--max-videos", "2")


@pytest.fixture(scope="session")
def stack(
    checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The two halves of a checkpoint, ready."""
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
