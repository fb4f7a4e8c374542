"""Both services under load: throughput, waiting times, and the same answers as one at a time.

`make bench-serve`, or `python -m benchmarks.serve`. Questions about rendered pictures, documents
and nothing but text come from 1, 8 and 32 clients at once, over gRPC, to the embedded checkpoint,
and from 32 without compression; nothing is kept from earlier questions. Then questions about a
megabyte of tokens, in turn to the services and to the same work in this process, which has as many
cores as each half, for what the services add. All of it several rounds; ratios are medians over
them. Writes `results/serve.json` and a plot.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
from luvc import Client
from luvc.cores import core_count
from luvc.launch import Stack
from luvc.ports import free_port

from benchmarks import plots, report
from benchmarks.memory import held_mib
from benchmarks.serve_alone import Alone, breakdown, overhead
from benchmarks.serve_load import (
    KINDS,
    Asked,
    Question,
    Row,
    ask,
    load,
    megabyte_questions,
    questions,
)
from luvc_core.profiles import PROFILES, profile

MODEL = "luvc-tiny-qwen2vl"
PROFILE = "lossless"
ROOM = 64 * 2**20
START_SECONDS = 300.0


@dataclass
class Found:
    """All that was measured. served, alone: pairs of answers about a megabyte of tokens."""

    rows: list[Row] = field(default_factory=list)
    answers: list[tuple[Row, list[Asked]]] = field(default_factory=list)
    served: list[Asked] = field(default_factory=list)
    alone: list[Asked] = field(default_factory=list)
    memory_mib: dict[str, float] = field(default_factory=dict)


def measure(
    asked: Sequence[Question], large: Sequence[Question], levels: Sequence[int],
    rounds: int, most: int, alone: Alone, name: str = PROFILE,
) -> Found:  # fmt: skip
    """The services, started and stopped here, and between their rounds the work alone."""
    os.environ["LUVC_ENCODER_STORE"] = "none"
    found = Found()
    loads = [(name, level) for level in levels] + [("off", max(levels))]
    stack = Stack(MODEL, port=free_port(), decoder_port=free_port())
    with stack.running(START_SECONDS), Client(stack.endpoint) as client:
        for question in (*asked[: len(KINDS)], large[0]):
            ask(client, question, name, most)  # warm up
        for number in range(rounds):
            # In turn from both ends: who comes last finds a machine that has worked longest.
            for used, concurrent in loads[:: -1 if number % 2 else 1]:
                row, answers = load(client, asked, used, concurrent, most)
                found.rows.append(row)
                found.answers.append((row, answers))
                what = f"{number + 1}/{rounds} {used}, {concurrent} at once"
                print(f"{what}: {row.requests_per_s}/s, {row.failures} failed", file=sys.stderr)
            for question in large:
                found.served.append(ask(client, question, name, most))
                found.alone.append(alone.ask(question, most))
        found.memory_mib = {half: held_mib(pid) for half, pid in stack.pids.items()}
    return found


def ratios(
    rows: Sequence[Row],
    answers: Sequence[tuple[Row, Sequence[Asked]]],
    expected: Sequence[str | None],
    in_flight: float,
    added_ms: float,
    name: str = PROFILE,
) -> dict[str, float | bool]:
    """Medians over the rounds. expected: texts of the same questions alone, one at a time."""
    levels = {row.concurrent for row in rows}
    least, most = min(levels), max(levels)
    many, one = (rates(rows, name, level) for level in (most, least))
    same = [[a.text for a in own] == list(expected) for row, own in answers if row.profile != "off"]
    return {
        f"throughput_{most}_vs_{least}": _median_ratio(many, one),
        "in_flight_ratio": round(in_flight, 3),
        "service_overhead_ms": added_ms,
        "identical_tokens": all(same),
    }


def rates(rows: Sequence[Row], name: str, concurrent: int) -> list[float]:
    """Requests a second, round by round."""
    return [r.requests_per_s for r in rows if (r.profile, r.concurrent) == (name, concurrent)]


def _median_ratio(some: Sequence[float], others: Sequence[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(some, others, strict=True)), 3)


def show(name: str, rows: Sequence[Row], found: dict[str, float | bool]) -> None:
    """A line for each load of each round, then the ratios; and a plot of the medians."""
    header = ("profile", "clients", "requests", "failed", "requests/s", "first ms p50", "p95",
              "gap ms p50", "p95")  # fmt: skip
    print(report.table(header, [tuple(asdict(row).values()) for row in rows]))
    print("\n".join(f"{key}: {value}" for key, value in found.items()))
    panels: dict[str, dict[str, float]] = {}
    for key, title in (("requests_per_s", "requests/s"), ("ttft_p50", "first text, ms, p50"),
                       ("ttft_p95", "first text, ms, p95")):  # fmt: skip
        for row in rows:
            own = [getattr(r, key) for r in rows
                   if (r.profile, r.concurrent) == (row.profile, row.concurrent)]  # fmt: skip
            label = f"{row.concurrent} clients, {row.profile}"
            panels.setdefault(title, {})[label] = statistics.median(own)
    plots.bars(name, panels)


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=96, help="a level; default: %(default)s")
    parser.add_argument("--large", type=int, default=10, help="a round; default: %(default)s")
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--new", type=int, default=32, help="most tokens; default: %(default)s")
    parser.add_argument("--profile", default=PROFILE, choices=[p for p in PROFILES if p != "off"])
    parser.add_argument("--out", default="serve", help="name in results/ (default: %(default)s)")
    o = parser.parse_args()
    torch.set_num_threads(max(1, core_count() // 2))
    asked, large = questions(o.requests), megabyte_questions(o.large)
    alone, alone_large = Alone(MODEL, o.profile), Alone(MODEL, o.profile)
    expected = [alone.ask(question, o.new).text for question in asked]
    in_flight = {
        kind: alone.in_flight(question, profile(o.profile), o.new, ROOM)
        / alone.in_flight(question, profile("off"), o.new, ROOM)
        for kind, question in (("scene", asked[0]), ("document", asked[1]))
    }
    m = measure(asked, large, o.levels, o.rounds, o.new, alone_large, o.profile)
    added = overhead(m.served, m.alone)
    found = ratios(m.rows, m.answers, expected, in_flight["scene"], added, o.profile)
    show(o.out, m.rows, found)
    top = max(o.levels)
    halved = _median_ratio(rates(m.rows, o.profile, top), rates(m.rows, "off", top))
    print(f"{o.profile} against off, {top} clients: {halved}")
    content = {
        "machine": report.machine(),
        "model": MODEL,
        "profile": o.profile,
        "ratios": found,
        f"vs_off_{top}": halved,
        "in_flight": in_flight,
        "overhead": breakdown(m.served, alone_large.stages),
        "memory_mib": m.memory_mib,
        "rows": [asdict(r) for r in m.rows],
    }
    report.write(o.out, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
