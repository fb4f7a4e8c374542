"""Scale encoders by the images that are in their towers or wait.

Questions with large images and answers of a word or two come from few clients, then from many, then
from few again; the clients balance over a list of addresses, as behind a headless Service. What a
HorizontalPodAutoscaler would do is done here, by its rule and its metric, luvc_tower_pixels.
"""

import io
import math
import random
import time
from dataclasses import dataclass, field

from luvc import Client
from luvc.local_stack.free_port import free_port
from PIL import Image

from benchmarks.common.service_processes import CHECKOUT, Service, Services, replicas_of
from benchmarks.serving.autoscaling.load_phases import MOST, Row, phase, samples

SIDE = 672
COMMON = ("--device=cpu", "--torch-threads=1")
PHASES = (("few", 1), ("many", 8), ("few", 1))


@dataclass
class Encoders:
    """Encoders at addresses that are known beforehand, with their autoscaler.

    Attributes:
        target_pixels: at the towers, for each encoder.
        window: seconds without need before an encoder goes.
        patience: seconds for a start.
        ports: of each encoder's gRPC and metrics.
    """

    services: Services
    decoder: Service
    target_pixels: float
    window: float
    patience: float
    name: str = "encoders"
    ports: list[tuple[int, int]] = field(default_factory=lambda: [
        (free_port(), free_port()) for _ in range(MOST)
    ])  # fmt: skip
    running: list[Service] = field(default_factory=list)
    # Samples of a minute, as the adapter's query takes their maximum: moment, pixels of all.
    _samples: list[tuple[float, float]] = field(default_factory=list)
    _wanted: list[tuple[float, int]] = field(default_factory=list)

    @property
    def target(self) -> str:
        """All addresses, as clients take them."""
        return "ipv4:" + ",".join(f"127.0.0.1:{port}" for port, _ in self.ports)

    def grow(self) -> None:
        """Start one more encoder and wait until it takes calls."""
        port, metrics = self.ports[len(self.running)]
        encoder = self.services.start(
            "encoder", CHECKOUT, *COMMON, f"--decoder={self.decoder.endpoint}",
            f"--metrics-port={metrics}", "--store=none", "--grace=60", port=port,
        )  # fmt: skip
        encoder.wait_ready(self.patience)
        self.running.append(encoder)

    def step(self) -> tuple[int, int]:
        """Sample the metric and scale by the rule; return how many encoders and replicas serve.

        It scales up at once, and down when nothing else was wanted for the whole window.
        """
        now = time.monotonic()
        pixels = sum(
            sample.value
            for _, metrics in self.ports[: len(self.running)]
            for sample in samples(metrics, "luvc_tower_pixels")
        )
        self._samples = [s for s in self._samples if now - s[0] < self.window / 2]
        self._samples.append((now, pixels))
        peak = max(pixels for _, pixels in self._samples)
        wanted = min(MOST, max(1, math.ceil(peak / self.target_pixels)))
        self._wanted = [w for w in self._wanted if now - w[0] < self.window]
        self._wanted.append((now, wanted))
        if wanted > len(self.running):
            self.grow()
        elif max(w for _, w in self._wanted) < len(self.running):
            # It finishes what it has.
            self.running.pop().stop()
        return len(self.running), len(replicas_of(self.decoder.child.pid))

    def answered(self) -> dict[str, int]:
        """Return the calls that each encoder has answered."""
        return {
            str(number): sum(
                int(sample.value)
                for sample in samples(metrics, "luvc_requests_total")
                if {"method": "Generate", "code": "OK"}.items() <= sample.labels.items()
            )
            for number, (_, metrics) in enumerate(self.ports[: len(self.running)])
        }


def measure(services: Services, seconds: float, window: float, patience: float) -> list[Row]:
    """Start the services and return a row for each phase.

    Args:
        services: start both halves.
        seconds: of a phase, at least.
        window: seconds without need before an encoder goes.
        patience: seconds for a start.
    """
    decoder = services.start(
        "decoder", CHECKOUT, *COMMON, f"--http-port={free_port()}", "--ray-cpus=1"
    )
    decoder.wait_ready(patience)
    # Two images an encoder: in the tower, or waiting for it.
    encoders = Encoders(services, decoder, 2 * SIDE * SIDE, window, patience)
    encoders.grow()
    return [phase(encoders, name, clients, ask, seconds) for name, clients in PHASES]


def ask(client: Client, number: int) -> None:
    """Ask about an image that nobody has sent before."""
    image = Image.effect_noise((SIDE, SIDE), random.Random(number).uniform(10, 90))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG")
    client.ask("What?", buffer.getvalue(), max_tokens=1, profile="max", timeout=110)
