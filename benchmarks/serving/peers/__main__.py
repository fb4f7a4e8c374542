"""Compare the product with vLLM on CPU and stock transformers: `make bench-peers`.

Images of 448 pixels, 32 new tokens, 32 questions at once; the embedded checkpoint, and one of 0.5 B
parameters at random weights; nothing kept from round to round. All systems compute in bfloat16, or
as `--dtype` says. They are loaded, then take turns, each with the machine to itself; a ratio is the
median over the rounds of our requests a second over the other's. Writes `results/peers.json` and a
plot.

A system that fails is left out, its failure written down. vLLM runs from `.venv-peers`.
"""

import argparse
import io
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luvc.local_stack.ending import end_in_order
from PIL import Image

from benchmarks.common import endless_checkpoints, plots, report
from benchmarks.serving.peers.peer_process import ROOT, PeerFailed, Round, System, running
from benchmarks.serving.peers.peer_worker import Task
from benchmarks.tasks.question_files import file_questions

SIDE = 448
WORK = ROOT / "runs" / "peers"
# What each is called, where it runs, and which module it is.
SYSTEMS: Mapping[str, tuple[Path, str]] = {
    "luvc": (Path(sys.executable), "benchmarks.serving.peers.luvc_services"),
    "vllm_cpu": (ROOT / ".venv-peers" / "bin" / "python", "benchmarks.serving.peers.vllm_cpu"),
    "generate": (Path(sys.executable), "benchmarks.serving.peers.transformers_generate"),
}
# Each checkpoint: how it is written, and against what it is asked.
MODELS: Mapping[str, tuple[Callable[[Path], Path], Sequence[str]]] = {
    "embedded": (endless_checkpoints.embedded, ("luvc", "vllm_cpu", "generate")),
    "05b": (endless_checkpoints.half_billion, ("luvc", "vllm_cpu")),
}


def write_task(model: Path, count: int, new: int, concurrency: int, dtype: str) -> Path:
    """Write questions about as many different images, as files.

    Args:
        model: folder of the checkpoint.
        count: of questions.
        new: tokens of each answer.
        concurrency: how many are asked at once.
        dtype: what the model computes in.

    Returns:
        The path of the task.
    """
    files, questions = [], []
    for number, asked in enumerate(file_questions("presence", count)):
        path = WORK / f"{number}.png"
        Image.open(io.BytesIO(asked.files[0])).resize((SIDE, SIDE)).save(path)
        files.append(str(path))
        questions.append(asked.question)
    task = Task(str(model), files, questions, new, concurrency, dtype)
    return task.write(WORK / f"{model.name}.json")


def measure(
    model: str, task: Path, systems: Sequence[str], rounds: int, new: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Run all rounds of one checkpoint.

    Args:
        model: name of the checkpoint.
        task: path of the questions.
        systems: which to compare.
        rounds: of each system.
        new: tokens that each answer must have.

    Returns:
        A row for each round, and why systems are missing.
    """
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    with ExitStack() as held:
        loaded: dict[str, System] = {}
        for name in systems:
            python, module = SYSTEMS[name]
            log = WORK / f"{model}-{name}.log"
            try:
                loaded[name] = held.enter_context(running(python, module, task, log))
            except (PeerFailed, OSError) as error:
                failed[name] = str(error)
        for number in range(rounds):
            for name, system in list(loaded.items()):
                try:
                    found: Round = system.round()
                except PeerFailed as error:
                    failed[name] = str(error)
                    del loaded[name]
                    continue
                if found.fewest_tokens < new:
                    failed[name] = f"gave {found.fewest_tokens} tokens instead of {new}"
                rows.append({"model": model, "system": name, "round": number, **asdict(found)})
                print(f"{model} {name}: {found.requests_per_s:.2f}/s", file=sys.stderr)
    return rows, {f"{model} {name}": why for name, why in failed.items()}


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return our requests a second over each other system's, medians over the rounds.

    Only systems that were measured have one.
    """
    found = {}
    for model, (_, systems) in MODELS.items():
        rate = {(r["system"], r["round"]): r["requests_per_s"] for r in rows if r["model"] == model}
        for other in systems[1:]:
            pairs = [
                ours / rate[other, number]
                for (name, number), ours in rate.items()
                if name == "luvc" and (other, number) in rate
            ]
            if pairs:
                found[f"vs_{other}_{model}"] = round(statistics.median(pairs), 4)
    return found


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return panels of requests a second and memory by system, medians over the rounds."""
    panels: dict[str, dict[str, float]] = {}
    for key, title in (("requests_per_s", "requests/s"), ("mib", "MiB")):
        for row in rows:
            rates = [
                r[key] for r in rows
                if (r["model"], r["system"]) == (row["model"], row["system"])
            ]  # fmt: skip
            panel = panels.setdefault(f"{row['model']}: {title}", {})
            panel[row["system"]] = round(statistics.median(rates), 3)
    return panels


def main() -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    for name, default in (("requests", 64), ("rounds", 3), ("new", 32), ("concurrency", 32)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--out", default="peers", help="name in results/ (default: %(default)s)")
    o = parser.parse_args()
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for model in o.models:
        write, systems = MODELS[model]
        folder = write(WORK / model)
        task = write_task(folder, o.requests, o.new, o.concurrency, o.dtype)
        found, missing = measure(model, task, systems, o.rounds, o.new)
        rows += found
        failed |= missing
    panels = summary(rows)
    for title, values in panels.items():
        print(report.table((title, "median"), list(values.items())))
    found_ratios = ratios(rows)
    print("\n".join(f"{name}: {value}" for name, value in found_ratios.items()))
    print("\n".join(f"left out: {name}: {why}" for name, why in failed.items()))
    settings = {"requests": o.requests, "new": o.new, "concurrency": o.concurrency,
                "side": SIDE, "dtype": o.dtype}  # fmt: skip
    content = {"machine": report.machine(), "settings": settings, "ratios": found_ratios,
               "failed": failed, "rows": rows}  # fmt: skip
    report.write(o.out, content)
    if panels:
        plots.bars(o.out, panels)
    return 0 if not failed else 1


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
