"""Measure traffic in which four of five requests repeat an image, with the store and without."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from luvc import Client
from luvc.local_stack.free_port import free_port

from benchmarks.common.service_processes import RestartableService
from benchmarks.serving.client_load import Question, ask, load
from benchmarks.tasks.question_files import file_questions

REPEATS = 0.8
PROFILE = "lossless"


@dataclass(frozen=True)
class Traffic:
    """One setting of the store. Times in milliseconds."""

    store: str
    requests: int
    failures: int
    requests_per_s: float
    ttft_p50: float
    ttft_p95: float


def mixed(count: int, seed: int = 0) -> list[Question]:
    """Return the same questions each time; the first one about an image is no repeat."""
    rng = random.Random(seed)
    new_count = max(1, round(count * (1 - REPEATS)))
    new = iter(Question(q.question, q.files) for q in file_questions("presence", new_count))
    is_new = [True] * (new_count - 1) + [False] * (count - new_count)
    rng.shuffle(is_new)
    asked = [next(new)]
    for first in is_new:
        asked.append(next(new) if first else rng.choice(asked))
    return asked


def measure(
    model: str, decoder: str, asked: Sequence[Question], folder: Path, concurrent: int
) -> list[Traffic]:
    """Measure the encoder without a store and with one in memory, before one decoder.

    Args:
        model: of both halves.
        decoder: its endpoint.
        asked: the questions.
        folder: for logs.
        concurrent: how many clients ask at once.
    """
    found = []
    for store in ("none", "memory"):
        front = RestartableService(
            "encoder", free_port(), folder, "--model", model, "--decoder", decoder,
            "--store", store,
        )  # fmt: skip
        try:
            front.start().wait_ready(600)
            with Client(front.endpoint) as client:
                ask(client, Question("Ready?", ()), PROFILE, max_tokens=2)
                row, _ = load(client, asked, PROFILE, concurrent, max_tokens=8)
        finally:
            front.close()
        kept = {name: asdict(row)[name] for name in Traffic.__annotations__ if name != "store"}
        found.append(Traffic(store, **kept))
    return found


def ratios(found: Sequence[Traffic]) -> dict[str, float]:
    """Return the figures with the store over those without."""
    off, on = found
    return {
        "requests_per_s": round(on.requests_per_s / max(off.requests_per_s, 1e-9), 3),
        "ttft_p50": round(on.ttft_p50 / max(off.ttft_p50, 1e-9), 3),
        "ttft_p95": round(on.ttft_p95 / max(off.ttft_p95, 1e-9), 3),
    }
