"""Put both services under load: throughput, waiting times, and the same answers as one at a time.

`make bench-serve`, or `python -m benchmarks.serving.load_test`. Questions about rendered images,
documents and nothing but text come from 1, 8 and 32 clients at once, over gRPC, to the embedded
checkpoint, and from 32 without compression; nothing is kept from earlier questions. Answers have as
many tokens as they may: the checkpoint's end of an answer is taken from it. Then the checkpoint as
it is, which answers with a word or two, and questions about a megabyte of tokens, in turn to the
services and to the same work in this process, which has as many cores as each half, for what the
services add. All of it several rounds; ratios are medians over them. Writes `results/serve.json`
and a plot.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

import torch
from luvc import Client
from luvc.local_stack.cpu_cores import core_count
from luvc.local_stack.ending import end_in_order
from luvc.local_stack.free_port import free_port
from luvc.local_stack.launcher import Stack

from benchmarks.common import endless_checkpoints, plots, report
from benchmarks.common.process_memory import held_mib
from benchmarks.serving.client_load import (
    KINDS,
    Asked,
    Question,
    Row,
    ask,
    load,
    megabyte_questions,
    questions,
)
from benchmarks.serving.in_process import Alone, breakdown, overhead
from luvc_core.compression.profiles import PROFILES, profile

MODEL = "luvc-tiny-qwen2vl"
ENDLESS = Path(__file__).parents[2] / "runs" / "serve" / MODEL
PROFILE = "lossless"
KV_BYTES = 64 * 2**20
START_SECONDS = 300.0
# A profile, and clients at once.
Load = tuple[str, int]


@dataclass
class Found:
    """All that was measured.

    Attributes:
        answers: of each row.
        served: answers of the services about a megabyte of tokens.
        alone: answers to the same questions in this process, in the same order.
        memory_mib: of each service.
    """

    rows: list[Row] = field(default_factory=list)
    answers: list[tuple[Row, list[Asked]]] = field(default_factory=list)
    served: list[Asked] = field(default_factory=list)
    alone: list[Asked] = field(default_factory=list)
    memory_mib: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is asked of a model, round by round.

    Attributes:
        loads: a profile, and clients at once.
        most: tokens of an answer.
        large: questions asked of the services and of the same work in this process.
    """

    model: str
    asked: Sequence[Question]
    loads: Sequence[Load]
    rounds: int
    most: int
    large: Sequence[Question] = ()


def measure(plan: Plan, alone: Alone, name: str = PROFILE) -> Found:
    """Start the services, run the plan, and stop them; between rounds do the same work in process.

    Args:
        plan: what to ask.
        alone: does the work in this process.
        name: the profile.
    """
    os.environ["LUVC_ENCODER_STORE"] = "none"
    found = Found()
    asked, large, rounds, most = plan.asked, plan.large, plan.rounds, plan.most
    stack = Stack(plan.model, port=free_port(), decoder_port=free_port())
    with stack.running(START_SECONDS), Client(stack.endpoint) as client:
        for question in (*asked[: len(KINDS)], *large[:1]):
            ask(client, question, name, most)  # warm up
        for number in range(rounds):
            # In turn from both ends: who comes last finds a machine that has worked longest.
            for used, concurrent in plan.loads[:: -1 if number % 2 else 1]:
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
    long: Found,
    words: Found,
    expected: Sequence[Sequence[str | None]],
    in_flight: float,
    name: str = PROFILE,
) -> dict[str, float | bool]:
    """Return medians over the rounds.

    Args:
        long: answers as long as they may be.
        words: answers of a word or two.
        expected: texts of the same questions asked alone, one at a time: of the long answers, and
            of the others.
        in_flight: how many times more requests hold KV cache at once with pruning.
        name: the profile.
    """
    levels = {row.concurrent for row in long.rows}
    least, most = min(levels), max(levels)
    same = [
        [a.text for a in answers] == list(texts)
        for found, texts in zip((long, words), expected, strict=True)
        for row, answers in found.answers
        if row.profile != "off"
    ]
    throughput = f"throughput_{most}_vs_{least}"
    return {
        throughput: _throughput(long, (name, most), (name, least)),
        f"{throughput}_words": _throughput(words, (name, most), (name, least)),
        f"vs_off_{most}": _throughput(long, (name, most), ("off", most)),
        f"vs_off_{most}_words": _throughput(words, (name, most), ("off", most)),
        "in_flight_ratio": round(in_flight, 3),
        "service_overhead_ms": overhead(words.served, words.alone),
        "identical_tokens": all(same),
    }


def _throughput(found: Found, one: Load, other: Load) -> float:
    """Return how many times the requests a second one load has of another."""
    pairs = zip(rates(found.rows, one), rates(found.rows, other), strict=True)
    return round(statistics.median(a / b for a, b in pairs), 3)


def rates(rows: Sequence[Row], load: Load) -> list[float]:
    """Return the requests a second of a load, round by round."""
    return [row.requests_per_s for row in rows if (row.profile, row.concurrent) == load]


def show(name: str, rows: Sequence[Row], found: Mapping[str, float | bool]) -> None:
    """Print a line for each load of each round, then the ratios; plot the medians.

    Args:
        name: of the plot.
        rows: of all rounds.
        found: the ratios.
    """
    header = ("profile", "clients", "requests", "failed", "tokens", "requests/s", "first ms p50",
              "p95", "gap ms p50", "p95")  # fmt: skip
    print(report.table(header, [tuple(asdict(row).values()) for row in rows]))
    print("\n".join(f"{key}: {value}" for key, value in found.items()))
    panels: dict[str, dict[str, float]] = {}
    for key, title in (("requests_per_s", "requests/s"), ("ttft_p50", "first text, ms, p50"),
                       ("ttft_p95", "first text, ms, p95")):  # fmt: skip
        for label, group in groupby(sorted(rows, key=_label), _label):
            panels.setdefault(title, {})[label] = statistics.median(getattr(r, key) for r in group)
    plots.bars(name, panels)


def _label(row: Row) -> str:
    return f"{row.tokens:g} tokens, {row.concurrent:2} clients, {row.profile}"


def main() -> int:
    """Measure, print and write; return the exit status."""
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
    endless, most = str(endless_checkpoints.embedded(ENDLESS)), max(o.levels)
    many = [(o.profile, most), ("off", most)]
    plans = (
        Plan(
            endless, asked, [(o.profile, level) for level in o.levels] + many[1:], o.rounds, o.new
        ),
        Plan(MODEL, asked, [(o.profile, min(o.levels)), *many], o.rounds, o.new, large),
    )
    alone, alone_large = [Alone(plan.model, o.profile) for plan in plans], Alone(MODEL, o.profile)
    expected = [[one.ask(question, o.new).text for question in asked] for one in alone]
    in_flight = {
        kind: alone[0].in_flight(question, profile(o.profile), o.new, KV_BYTES)
        / alone[0].in_flight(question, profile("off"), o.new, KV_BYTES)
        for kind, question in (("scene", asked[0]), ("document", asked[1]))
    }
    long, words = (measure(plan, alone_large, o.profile) for plan in plans)
    found = ratios(long, words, expected, in_flight["scene"], o.profile)
    rows = [*long.rows, *words.rows]
    show(o.out, rows, found)
    content = {
        "machine": report.machine(),
        "model": MODEL,
        "profile": o.profile,
        "ratios": found,
        "in_flight": in_flight,
        "overhead": breakdown(words.served, alone_large.stages),
        "memory_mib": long.memory_mib,
        "rows": [asdict(row) for row in rows],
    }
    report.write(o.out, content)
    return 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
