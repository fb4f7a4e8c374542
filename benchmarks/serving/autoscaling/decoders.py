"""Scale replicas of the decoder by the visual tokens that wait for them.

Questions about few images, which the encoder keeps, come from few clients, then from many, then
from few again. Ray Serve scales by the product's own policy.
"""

from dataclasses import dataclass

from luvc import Client
from luvc.local_stack.free_port import free_port

from benchmarks.common.service_processes import CHECKOUT, Service, Services, replicas_of
from benchmarks.serving.autoscaling.load_phases import MOST, Row, phase, samples
from benchmarks.tasks.question_files import file_questions

COMMON = ("--device=cpu", "--torch-threads=1")
PHASES = (("few", 1), ("many", 12), ("few", 1))
# Images of 256 tokens each have to wait: two that wait call for another replica.
SCALING = ("--min-replicas=1", f"--max-replicas={MOST}", "--max-active=2", "--ray-cpus=2",
           "--target-queued-tokens=256", "--upscale-delay=2")  # fmt: skip
# Ray hands on what replicas count every ten seconds otherwise.
QUICK_METRICS = {"RAY_metrics_report_interval_ms": "1000"}


@dataclass
class Replicas:
    """One encoder, and a decoder that scales by itself."""

    encoder: Service
    decoder: Service
    metrics_port: int
    name: str = "replicas"

    @property
    def target(self) -> str:
        """What clients connect to."""
        return self.encoder.endpoint

    def step(self) -> tuple[int, int]:
        """Return how many encoders and replicas serve now."""
        alive = self.encoder.child.status is None
        return int(alive), len(replicas_of(self.decoder.child.pid))

    def answered(self) -> dict[str, int]:
        """Return the calls that each replica has answered."""
        counts: dict[str, int] = {}
        for sample in samples(self.metrics_port, "ray_luvc_requests_total"):
            if sample.labels["code"] == "OK":
                counts[sample.labels["replica"]] = int(sample.value)
        return counts


def measure(services: Services, seconds: float, window: float, patience: float) -> list[Row]:
    """Start the services and return a row for each phase.

    Args:
        services: start both halves.
        seconds: of a phase, at least.
        window: seconds without need before a replica goes.
        patience: seconds for a start.
    """
    metrics_port = free_port()
    decoder = services.start(
        "decoder", CHECKOUT, *COMMON, *SCALING, f"--downscale-delay={window}",
        f"--http-port={free_port()}", f"--metrics-port={metrics_port}", environ=QUICK_METRICS,
    )  # fmt: skip
    decoder.wait_ready(patience)
    encoder = services.start("encoder", CHECKOUT, *COMMON, f"--decoder={decoder.endpoint}")
    encoder.wait_ready(patience)
    replicas = Replicas(encoder, decoder, metrics_port)
    return [phase(replicas, name, clients, ask, seconds) for name, clients in PHASES]


def ask(client: Client, number: int) -> None:
    """Ask about one of a few images."""
    question = _QUESTIONS[number % len(_QUESTIONS)]
    client.ask(question.question, *question.files, max_tokens=8, timeout=110)


_QUESTIONS = list(file_questions("presence", 16))
