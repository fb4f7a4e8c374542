"""Measure what pruning saves in the language model: time to the first token, answers, memory.

`make bench-llm`, or `python -m benchmarks.compute.llm`. The text model of Qwen2-VL-2B at random
weights, 2,048 visual and 64 text tokens, 64 new ones, through the product's own engine, one request
at a time, against the engine without pruning and stock `generate`; and 8,192 visual tokens without
pruning against 2,048, as merging leaves, with it. Runs take turns, ratios are medians over the
turns. Writes `results/llm.json` and a plot beside it.

Times are wall time on all cores, so the machine must be quiet. `--busy` takes the processor time of
one thread instead, which other work disturbs less.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import torch

from benchmarks.common import plots, report
from benchmarks.common.random_language_half import Shape, build, random_image_tokens
from benchmarks.compute.llm_runs import Clock, Run, run, run_stock
from luvc_core.compression.profiles import PROFILES, profile
from luvc_core.models.checkpoint.devices import choose_device, choose_dtype


def measure(
    shape: Shape, tokens: int, new: int, turns: int, dtype: torch.dtype,
    clock: Clock = time.process_time, pruned_by: str = "lossless",
) -> list[Run]:  # fmt: skip
    """Run all variants in turns.

    Args:
        shape: of the text model.
        tokens: visual tokens; four times as many are what merging starts from.
        new: tokens of each answer.
        turns: how often each variant runs.
        dtype: of the weights.
        clock: seconds of which time.
        pruned_by: the profile whose pruning is measured.

    Returns:
        All runs, in order.
    """
    language, stock = build(shape, dtype)
    shown, unmerged = (random_image_tokens(shape, count, dtype) for count in (tokens, 4 * tokens))
    runs = []
    for turn in range(turns):
        found = [
            run("off", language, shown, None, new, clock),
            run("pruned", language, shown, profile(pruned_by).spu, new, clock),
            run_stock(stock, language, shown, new, clock),
            run("unmerged", language, unmerged, None, 1, clock),
        ]
        runs += found
        for r in found:
            print(f"{turn + 1}/{turns} {r.name}: {r.first:.2f} s, {r.total:.2f} s", file=sys.stderr)
    return runs


def ratios(runs: Sequence[Run]) -> dict[str, float]:
    """Return medians over the turns of what pruning, and merging before it, saves."""
    by = {
        name: [r for r in runs if r.name == name]
        for name in ("off", "pruned", "generate", "unmerged")
    }
    off, pruned = by["off"], by["pruned"]

    def median(pairs: Sequence[tuple[float, float]]) -> float:
        return round(statistics.median(a / b for a, b in pairs), 4)

    both = list(zip(off, pruned, strict=True))
    return {
        "prefill_speedup": median([(a.first, b.first) for a, b in both]),
        "answer_speedup": median([(a.total, b.total) for a, b in both]),
        "kv_bytes_ratio": median([(b.kv_bytes, a.kv_bytes) for a, b in both]),
        "ttft_8192_speedup": median(
            [(a.first, b.first) for a, b in zip(by["unmerged"], pruned, strict=True)]
        ),
        "spu_cost_share": median([(b.pruning, b.first) for b in pruned]),
        "off_vs_generate": median(
            [(a.total, b.total) for a, b in zip(by["generate"], off, strict=True)]
        ),
    }


def draw(name: str, runs: Sequence[Run]) -> None:
    """Draw medians over the turns to `results/<name>.png`."""

    def panel(value: str) -> dict[str, float]:
        names = dict.fromkeys(r.name for r in runs)
        return {n: statistics.median(getattr(r, value) for r in runs if r.name == n) for n in names}

    mib = {n: size / 2**20 for n, size in panel("kv_bytes").items()}
    plots.bars(name, {"first token, seconds": panel("first"), "whole answer, seconds":
                      panel("total"), "keys and values, MiB": mib})  # fmt: skip


def show(runs: Sequence[Run], found: Mapping[str, float]) -> None:
    """Print a line for each run, then the ratios."""
    header = ("run", "visual tokens", "layer average", "first s", "whole s", "pruning s", "KV MiB")
    lines = [
        (r.name, r.visual_tokens, f"{r.average:.0f}", f"{r.first:.2f}", f"{r.total:.2f}",
         f"{r.pruning:.3f}", f"{r.kv_bytes / 2**20:.1f}")
        for r in runs
    ]  # fmt: skip
    print(report.table(header, lines))
    print("\n".join(f"{name}: {value}" for name, value in found.items()))


def main() -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("layers", 28), ("hidden", 1536), ("mlp", 8960), ("tokens", 2048),
                          ("new", 64), ("turns", 3)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--busy", action="store_true", help="processor time of one thread")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--profile", default="lossless", choices=list(PROFILES))
    parser.add_argument("--out", default="llm", help="name in results/ (default: %(default)s)")
    o = parser.parse_args()
    torch.set_num_threads(1 if o.busy else os.cpu_count() or 1)
    dtype = choose_dtype(o.dtype, choose_device("cpu"))
    head = Shape.hidden // Shape.heads
    shape = replace(Shape(), layers=o.layers, hidden=o.hidden, heads=o.hidden // head, mlp=o.mlp)
    clock = time.process_time if o.busy else time.perf_counter
    runs = measure(shape, o.tokens, o.new, o.turns, dtype, clock, o.profile)
    found = ratios(runs)
    show(runs, found)
    content = {
        "machine": report.machine() | {"dtype": str(dtype).removeprefix("torch."),
                                       "clock": clock.__name__},
        "shape": asdict(shape),
        "profile": o.profile,
        "ratios": found,
        "runs": [asdict(r) for r in runs],
    }  # fmt: skip
    report.write(o.out, content)
    draw(o.out, runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
