"""What pruning saves in the language model: time to the first token, whole answers, memory.

`make bench-llm`, or `python -m benchmarks.llm`. The text model of Qwen2-VL-2B at random weights,
2,048 visual and 64 text tokens, 64 new ones, through the product's own engine, one request at a
time, against the engine without pruning and stock `generate`; and 8,192 visual tokens without
pruning against 2,048, as merging leaves, with it. Times are processor time, which with one thread
is that which passes on a quiet machine; runs take turns, ratios are medians over the turns. Writes
`results/llm.json`.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any
from unittest import mock

import torch

from benchmarks import report
from benchmarks.random_languages import Shape, build, picture
from luvc_core.chat import Message, Sampling
from luvc_core.config import SpuSettings
from luvc_core.engine import prefill
from luvc_core.engine.engine import Engine, Request
from luvc_core.models.base import LanguageHalf
from luvc_core.profiles import profile
from luvc_core.tokens import VisionTokens

SPU = profile("lossless").spu


@dataclass(frozen=True)
class Run:
    """One answer. Seconds of processor time; kv_bytes at the end, 0 where not known.

    average: visual tokens in the average layer. pruning: what scoring and choosing took.
    """

    name: str
    visual_tokens: int
    average: float
    first: float
    total: float
    pruning: float
    kv_bytes: int


def run(
    name: str, language: LanguageHalf, shown: VisionTokens, spu: SpuSettings | None, new: int
) -> Run:
    """One answer of the engine, alone."""
    # Exactness against other requests costs time where there are none: see Engine.
    engine = Engine(language, exact=False)
    request = Request((Message("user", (shown, "?")),), Sampling(new), spu)
    with _timed_pruning() as pruning:
        start = time.process_time()
        session = engine.start(request)
        event = session.step()
        first = time.process_time() - start
        while event is not None and event.result is None:
            event = session.step()
    assert event is not None
    assert event.result is not None
    return Run(
        name,
        shown.token_count,
        event.result.layer_averaged_visual_token_count,
        first,
        time.process_time() - start,
        sum(pruning),
        event.result.cache_byte_count,
    )


@torch.inference_mode()
def run_stock(stock: Any, language: LanguageHalf, shown: VisionTokens, new: int) -> Run:
    """The same answer by stock `generate`. `first` is that of one new token alone."""
    prompt = language.tokenize((Message("user", (shown, "?")),))
    embeds = language.embed(prompt.ids)
    embeds[prompt.visual] = shown.embeddings.to(embeds.dtype)
    seconds = []
    for count in (1, new):
        start = time.process_time()
        stock.generate(
            inputs_embeds=embeds[None],
            attention_mask=torch.ones(1, prompt.length, dtype=torch.long),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        seconds.append(time.process_time() - start)
    return Run("generate", shown.token_count, shown.token_count, *seconds, 0.0, 0)


@contextmanager
def _timed_pruning() -> Iterator[list[float]]:
    """Seconds of processor time of each pruning while it lasts."""
    seconds: list[float] = []
    plain = vars(prefill)["_prune"]

    def timed(*arguments: object) -> object:
        start = time.process_time()
        kept = plain(*arguments)
        seconds.append(time.process_time() - start)
        return kept

    with mock.patch.object(prefill, "_prune", timed):
        yield seconds


def measure(shape: Shape, tokens: int, new: int, turns: int, dtype: torch.dtype) -> list[Run]:
    """All variants, by turns; 4 times `tokens` is what merging starts from."""
    language, stock = build(shape, dtype)
    shown, unmerged = (picture(shape, count, dtype) for count in (tokens, 4 * tokens))
    runs = []
    for turn in range(turns):
        found = [
            run("off", language, shown, None, new),
            run("lossless", language, shown, SPU, new),
            run_stock(stock, language, shown, new),
            run("unmerged", language, unmerged, None, 1),
        ]
        runs += found
        for r in found:
            print(f"{turn + 1}/{turns} {r.name}: {r.first:.2f} s, {r.total:.2f} s", file=sys.stderr)
    return runs


def ratios(runs: Sequence[Run]) -> dict[str, float]:
    """Medians over the turns of what pruning, and merging before it, saves."""
    by = {
        name: [r for r in runs if r.name == name]
        for name in ("off", "lossless", "generate", "unmerged")
    }
    off, lossless = by["off"], by["lossless"]

    def median(pairs: Sequence[tuple[float, float]]) -> float:
        return round(statistics.median(a / b for a, b in pairs), 4)

    both = list(zip(off, lossless, strict=True))
    return {
        "prefill_speedup": median([(a.first, b.first) for a, b in both]),
        "answer_speedup": median([(a.total, b.total) for a, b in both]),
        "kv_bytes_ratio": median([(b.kv_bytes, a.kv_bytes) for a, b in both]),
        "ttft_8192_speedup": median(
            [(a.first, b.first) for a, b in zip(by["unmerged"], lossless, strict=True)]
        ),
        "spu_cost_share": median([(b.pruning, b.first) for b in lossless]),
        "off_vs_generate": median(
            [(a.total, b.total) for a, b in zip(by["generate"], off, strict=True)]
        ),
        "layer_average": round(lossless[0].average / lossless[0].visual_tokens, 4),
    }


def show(runs: Sequence[Run], found: Mapping[str, float]) -> None:
    """A line for each run, then the ratios."""
    header = ("run", "visual tokens", "layer average", "first s", "whole s", "pruning s", "KV MiB")
    lines = [
        (r.name, r.visual_tokens, f"{r.average:.0f}", f"{r.first:.2f}", f"{r.total:.2f}",
         f"{r.pruning:.3f}", f"{r.kv_bytes / 2**20:.1f}")
        for r in runs
    ]  # fmt: skip
    print(report.table(header, lines))
    print("\n".join(f"{name}: {value}" for name, value in found.items()))


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("layers", 28), ("hidden", 1536), ("mlp", 8960), ("tokens", 2048),
                          ("new", 64), ("turns", 3), ("threads", 1)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--out", default="llm", help="name in results/ (default: %(default)s)")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    head = Shape.hidden // Shape.heads
    shape = replace(Shape(), layers=o.layers, hidden=o.hidden, heads=o.hidden // head, mlp=o.mlp)
    runs = measure(shape, o.tokens, o.new, o.turns, getattr(torch, o.dtype))
    found = ratios(runs)
    show(runs, found)
    content = {
        "machine": report.machine() | {"load": round(os.getloadavg()[0], 1), "dtype": o.dtype},
        "shape": asdict(shape),
        "ratios": found,
        "runs": [asdict(r) for r in runs],
    }
    report.write(o.out, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
