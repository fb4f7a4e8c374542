"""Both services under load: throughput, waiting times, and the same answers as one at a time.

`make bench-serve`, or `python -m benchmarks.serve`. Questions about rendered pictures, documents
and nothing but text come from 1, 8 and 32 clients at once, over gRPC, to the embedded checkpoint;
then one at a time without any service, in this process. Writes `results/serve.json`.
"""

import argparse
import os
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise

from luvc import Client, LuvcError
from luvc.launch import Stack

from benchmarks import report
from benchmarks.tasks.files import file_questions
from luvc_core.chat import Message, Sampling
from luvc_core.config import SpuSettings
from luvc_core.encode import Encoder
from luvc_core.engine.engine import Engine, Request
from luvc_core.engine.scheduler import Limits, Scheduler
from luvc_core.models.registry import load_language, load_vision
from luvc_core.profiles import profile

MODEL = "luvc-tiny-qwen2vl"
KINDS = ("presence", "document", "text", "colour", "chart")
PROFILE = "lossless"


@dataclass(frozen=True)
class Question:
    """Text about files of pictures, or about nothing."""

    text: str
    files: tuple[bytes, ...]


@dataclass(frozen=True)
class Asked:
    """One answer: its text, None where it failed. Seconds to the first piece, between pieces, and
    to the end."""

    text: str | None
    first: float
    gaps: tuple[float, ...]
    total: float


@dataclass(frozen=True)
class Row:
    """So many clients at once. Times in milliseconds."""

    concurrent: int
    requests: int
    failures: int
    requests_per_s: float
    ttft_p50: float
    ttft_p95: float
    gap_p50: float
    gap_p95: float


def questions(count: int) -> list[Question]:
    """The kinds in turn; text alone asks what a picture's question asks, without the picture."""
    each = -(-count // len(KINDS))
    found = {
        kind: [
            Question(q.question, () if kind == "text" else q.files)
            for q in file_questions("count" if kind == "text" else kind, each)
        ]
        for kind in KINDS
    }
    dealt = [q for group in zip(*found.values(), strict=True) for q in group]
    return dealt[:count]


def ask(client: Client, question: Question, most: int) -> Asked:
    """One question over gRPC."""
    start = time.perf_counter()
    times, pieces = [start], []
    try:
        stream = client.stream(
            question.text, *question.files, profile=PROFILE, max_tokens=most, timeout=110
        )
        for piece in stream:
            times.append(time.perf_counter())
            pieces.append(piece)
    except LuvcError:
        return Asked(None, 0.0, (), time.perf_counter() - start)
    gaps = tuple(b - a for a, b in pairwise(times[1:]))
    return Asked(
        "".join(pieces), times[min(1, len(times) - 1)] - start, gaps, time.perf_counter() - start
    )


def load(
    client: Client, asked: Sequence[Question], concurrent: int, most: int
) -> tuple[Row, list[Asked]]:
    """All questions by so many clients, each with the next one when it has its answer."""
    start = time.perf_counter()
    with ThreadPoolExecutor(concurrent) as pool:
        answers = list(pool.map(lambda question: ask(client, question, most), asked))
    seconds = time.perf_counter() - start
    good = [a for a in answers if a.text is not None]
    firsts = [a.first for a in good]
    gaps = [gap for a in good for gap in a.gaps]
    row = Row(
        concurrent, len(answers), len(answers) - len(good), round(len(good) / seconds, 3),
        _ms(firsts, 0.5), _ms(firsts, 0.95), _ms(gaps, 0.5), _ms(gaps, 0.95),
    )  # fmt: skip
    return row, answers


def _ms(seconds: Sequence[float], share: float) -> float:
    ordered = sorted(seconds)
    if not ordered:
        return 0.0
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


class Alone:
    """The same work in this process, one question at a time."""

    def __init__(self, model: str) -> None:
        self._encoder = Encoder(load_vision(model))
        self._engine = Engine(load_language(model))

    def request(self, question: Question, spu: SpuSettings | None, most: int) -> Request:
        oim = profile(PROFILE).oim
        shown = self._encoder.encode([self._encoder.prepare(f, "") for f in question.files], oim)
        return Request((Message("user", (*shown, question.text)),), Sampling(most), spu)

    def ask(self, question: Question, most: int) -> Asked:
        start = time.perf_counter()
        session = self._engine.start(self.request(question, profile(PROFILE).spu, most))
        text, first = "", 0.0
        while (event := session.step()) is not None:
            text += event.text
            first = first or (time.perf_counter() - start if event.text else 0.0)
        return Asked(text, first, (), time.perf_counter() - start)

    def in_flight(self, question: Question, spu: SpuSettings | None, most: int, room: int) -> int:
        """How many of the same request hold room at once, out of so many bytes."""
        scheduler = Scheduler(Limits(room))
        request = self.request(question, spu, most)
        session = self._engine.start(request)
        for _ in range(room // session.kv_byte_count + 1):
            scheduler.submit(self._engine.start(request))
        scheduler.step()
        return scheduler.in_flight_count


def ratios(
    rows: Sequence[Row], answers: dict[int, list[Asked]], alone: Sequence[Asked], in_flight: float
) -> dict[str, float | bool]:
    """overhead: of the services over the same work in one process, at the median, one at a time."""
    by = {row.concurrent: row for row in rows}
    least, most = min(by), max(by)
    one = [a.total for a in answers[least] if a.text is not None]
    overhead = statistics.median(one) - statistics.median(a.total for a in alone)
    expected = [a.text for a in alone]
    return {
        f"throughput_{most}_vs_{least}": round(
            by[most].requests_per_s / by[least].requests_per_s, 3
        ),
        "in_flight_ratio": round(in_flight, 3),
        "service_overhead_ms": round(1000 * overhead, 1),
        "identical_tokens": all([a.text for a in found] == expected for found in answers.values()),
    }


def measure_services(
    asked: Sequence[Question], levels: Sequence[int], most: int
) -> tuple[list[Row], dict[int, list[Asked]]]:
    """A row for each number of clients, and all answers."""
    rows, answers = [], {}
    stack = Stack(MODEL, port=_free_port(), decoder_port=_free_port())
    with stack.running(start_timeout=240), Client(stack.endpoint) as client:
        for question in asked[: len(KINDS)]:
            ask(client, question, most)  # warm up
        for concurrent in levels:
            row, answers[concurrent] = load(client, asked, concurrent, most)
            rows.append(row)
            print(f"{concurrent} at once: {row.requests_per_s}/s", file=sys.stderr)
    return rows, answers


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def show(rows: Sequence[Row], found: dict[str, float | bool]) -> None:
    """A line for each number of clients."""
    header = ("clients", "requests", "failed", "requests/s", "first ms p50", "p95", "gap ms p50",
              "p95")  # fmt: skip
    print(report.table(header, [tuple(asdict(row).values()) for row in rows]))
    print("\n".join(f"{name}: {value}" for name, value in found.items()))


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=96, help="a level; default: %(default)s")
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--new", type=int, default=32, help="most tokens; default: %(default)s")
    parser.add_argument("--out", default="serve", help="name in results/ (default: %(default)s)")
    o = parser.parse_args()
    asked = questions(o.requests)
    rows, answers = measure_services(asked, o.levels, o.new)
    alone = Alone(MODEL)
    alone.ask(asked[0], o.new)  # warm up
    expected = [alone.ask(question, o.new) for question in asked]
    room = 64 * 2**20
    pruned, plain = (
        alone.in_flight(asked[1], s, o.new, room) for s in (profile(PROFILE).spu, None)
    )
    found = ratios(rows, answers, expected, pruned / plain)
    show(rows, found)
    machine = report.machine() | {"load": round(os.getloadavg()[0], 1)}
    content = {
        "machine": machine,
        "model": MODEL,
        "profile": PROFILE,
        "ratios": found,
        "rows": [asdict(r) for r in rows],
    }
    report.write(o.out, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
