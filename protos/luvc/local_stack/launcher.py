"""Both services on this machine: two processes that start and stop together."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc

from luvc.local_stack.child_process import Child
from luvc.local_stack.cpu_cores import core_count
from luvc.local_stack.free_port import free_port
from luvc.v1 import decoder_pb2, decoder_pb2_grpc

STOP_SECONDS = 30.0


class StartFailed(Exception):
    """A service ended, or was not ready in time. The text says which."""


@dataclass
class Stack:
    """An encoder service and a local Ray with decoder replicas, as child processes.

    Each service computes on half of the CPU cores, unless the environment says otherwise
    (LUVC_ENCODER_TORCH_THREADS, LUVC_DECODER_TORCH_THREADS). On the same cores they would wait for
    each other in every matrix product, and answer many requests at once ten times slower.

    Attributes:
        model: embedded name, local folder or hub id.
        host: address that both listen on.
        port: of the encoder service.
        decoder_port: of the decoder service.
        decoder_replicas: copies of the language half.
        profiles: a file of profiles for both services.
        profile: compression where a request names none; empty leaves it to the encoder.
    """

    model: str
    host: str = "127.0.0.1"
    port: int = 50051
    decoder_port: int = 50052
    decoder_replicas: int = 1
    profiles: str = ""
    profile: str = ""
    _children: dict[str, Child] = field(default_factory=dict, repr=False)
    _asked_to_stop: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def endpoint(self) -> str:
        """HOST:PORT of the encoder service."""
        return f"{self.host}:{self.port}"

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the services that run, by the name of their module."""
        return {name: child.pid for name, child in self._children.items()}

    def start(self, timeout: float) -> None:
        """Start both services and wait until they answer.

        Raises StartFailed where one ends, or is not ready within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        self._spawn(
            "decoder_service",
            "--port",
            str(self.decoder_port),
            "--host",
            self.host,
            "--http-port",
            str(free_port()),
            "--replicas",
            str(self.decoder_replicas),
            *self._profile_flags("profiles"),
        )
        self._spawn(
            "encoder_service",
            "--port",
            str(self.port),
            "--host",
            self.host,
            "--decoder",
            f"{self.host}:{self.decoder_port}",
            *self._profile_flags("profiles", "profile"),
        )
        self._wait_ready("decoder_service", self.decoder_port, deadline)
        self._wait_ready("encoder_service", self.port, deadline)

    def stop(self) -> None:
        """Stop the encoder first, so that accepted answers can finish, then the decoder."""
        for name in ("encoder_service", "decoder_service"):
            if child := self._children.pop(name, None):
                child.stop(STOP_SECONDS)

    def run(self, start_timeout: float) -> int:
        """Serve in the foreground until a signal comes, and return the exit status.

        The signals are SIGINT, SIGTERM and, unless it is ignored as under nohup, SIGHUP.
        """
        signal.signal(signal.SIGINT, self._ask_to_stop)
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._ask_to_stop)
        print(f"luvc: starting {self.model} ...", file=sys.stderr, flush=True)
        try:
            with self.running(start_timeout):
                print(
                    f'luvc: ready on {self.endpoint}; try:  luvc ask PICTURE "QUESTION" '
                    f"--endpoint {self.endpoint}",
                    file=sys.stderr,
                    flush=True,
                )
                while not self._asked_to_stop.wait(0.5):
                    self._check_alive()
        except StartFailed as error:
            if self._asked_to_stop.is_set():
                return 0
            print(f"luvc: {error}", file=sys.stderr)
            return 1
        return 0

    def _ask_to_stop(self, *_: object) -> None:
        if not self._asked_to_stop.is_set():
            self._asked_to_stop.set()
            # Not print: the signal may have interrupted another print. The terminal may be gone.
            with contextlib.suppress(OSError):
                os.write(2, b"luvc: stopping ...\n")

    @contextlib.contextmanager
    def running(self, start_timeout: float) -> Iterator["Stack"]:
        """Run both services for the time of the block. Raises StartFailed."""
        try:
            self.start(start_timeout)
            yield self
        finally:
            self.stop()

    def _spawn(self, module: str, *flags: str) -> None:
        command = [sys.executable, "-m", module, "--model", self.model, "--log-level", "warning"]
        half = core_count() // 2
        cores = {
            "LUVC_ENCODER_TORCH_THREADS": str(max(1, half)),
            "LUVC_DECODER_TORCH_THREADS": str(max(1, half // self.decoder_replicas)),
        }
        self._children[module] = Child([*command, *flags], environ=cores | os.environ)

    def _profile_flags(self, *names: str) -> list[str]:
        """Return flags for the named settings that are not empty."""
        return [f"--{name}={value}" for name in names if (value := getattr(self, name))]

    def _wait_ready(self, name: str, port: int, deadline: float) -> None:
        with grpc.insecure_channel(f"{self.host}:{port}") as channel:
            while True:
                self._check_alive()
                if self._asked_to_stop.is_set():
                    raise StartFailed("stopped while starting")
                if time.monotonic() > deadline:
                    raise StartFailed(f"{name} was not ready in time")
                try:
                    if name == "decoder_service":
                        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
                        stub.GetModelInfo(decoder_pb2.GetModelInfoRequest(), timeout=5)
                    else:
                        grpc.channel_ready_future(channel).result(timeout=1)
                    return
                except (grpc.RpcError, grpc.FutureTimeoutError):
                    time.sleep(0.3)

    def _check_alive(self) -> None:
        for name, child in self._children.items():
            if child.status is not None:
                raise StartFailed(f"{name} ended with status {child.status}; see its log above")
