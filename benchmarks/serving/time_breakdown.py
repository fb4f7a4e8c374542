"""Break down where the time goes, against the limits of this machine: `make bench-where`.

First what the machine can do: how fast it multiplies matrices of the model's shapes, in the number
format that the services choose here, and reads memory. Then one prefill and one decode step of a
text model at random weights (that of Qwen2-VL-2B), with `lossless` pruning and without, layer by
layer, each against the time that its operations or its bytes would take at these rates. Then every
stage of a request to the embedded checkpoint. Writes `results/where.json`, a plot and, unless told
not to, a section of `docs/performance.md`. The machine must be quiet.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from benchmarks.common import plots, report
from benchmarks.common.random_language_half import Shape, build, random_image_tokens
from benchmarks.fidelity.flops import layer_flops
from benchmarks.serving.client_load import questions
from benchmarks.serving.in_process import Alone
from benchmarks.serving.time_breakdown_docs import PAGE, into_docs
from luvc_core.chat import Message
from luvc_core.compression.profiles import profile
from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.decode import decode_step
from luvc_core.engine.prefill import Prefill
from luvc_core.models.base import LanguageHalf
from luvc_core.models.checkpoint.devices import choose_dtype
from luvc_core.models.text.packed_linear import packed
from luvc_core.visual_tokens.vision_tokens import VisionTokens

SPU = profile("lossless").spu
MODEL = "luvc-tiny-qwen2vl"


@dataclass(frozen=True)
class Layer:
    """One layer of one prefill.

    Attributes:
        tokens: that enter it.
        ms: its time, pruning included.
        limit_ms: its operations at the matrix rate.
    """

    index: int
    tokens: int
    ms: float
    limit_ms: float


def median_seconds(work: Callable[[], object], times: int = 5) -> float:
    """Return the median of several runs, after one that warms up."""
    work()
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


@torch.inference_mode()
def matrix_rate(rows: int, hidden: int, mlp: int, dtype: torch.dtype) -> float:
    """Return the operations a second of the largest matrix product of a layer.

    Args:
        rows: tokens.
        hidden: width of the model.
        mlp: inner width of a layer.
        dtype: of both.
    """
    x, linear = torch.randn(rows, hidden).to(dtype), packed(nn.Linear(hidden, mlp).to(dtype))
    seconds = median_seconds(lambda: linear(x))
    return 2 * rows * hidden * mlp / seconds


def memory_rate(mib: int = 512) -> float:
    """Return the bytes a second of reading what no cache holds."""
    numbers = torch.ones(mib * 2**18)
    seconds = median_seconds(numbers.sum)
    return numbers.nbytes / seconds


@torch.inference_mode()
def prefill_layers(
    language: LanguageHalf, shape: Shape, shown: VisionTokens, spu: SpuSettings | None, rate: float
) -> tuple[list[Layer], Prefill]:
    """Run one prefill, layer by layer.

    Args:
        language: the half.
        shape: of the text model.
        shown: the image's visual tokens.
        spu: the pruning, or None.
        rate: operations a second of the machine.

    Returns:
        The layers, and the prefill, whose KV caches can be decoded from.
    """
    prompt = language.tokenize((Message("user", (shown, "?")),))
    work = Prefill(language, prompt, spu)
    layers: list[Layer] = []
    while not work.ended:
        index, tokens = len(layers), work.next_rows
        start = time.perf_counter()
        work.advance()
        ms = 1000 * (time.perf_counter() - start)
        queries = shape.hidden
        # `layer_flops` counts two operations a weight.
        flops = layer_flops([tokens], language.row_flops // 2, queries)
        layers.append(Layer(index, tokens, round(ms, 3), round(1000 * flops / rate, 3)))
    return layers, work


@torch.inference_mode()
def step(
    language: LanguageHalf, shape: Shape, work: Prefill, bytes_a_second: float
) -> dict[str, float]:
    """Time one decode step, and compute the time of reading all weights and KV caches once.

    Args:
        language: the half.
        shape: of the text model.
        work: an ended prefill.
        bytes_a_second: that the machine reads.
    """
    position = torch.full((1, 3), 10_000.0)
    held = sum(cache.byte_count for cache in work.caches)
    seconds = median_seconds(lambda: decode_step(language, [0], position, [work.caches]), 3)
    # Weights of the layers, and of the head.
    count = language.layer_count * language.row_flops // 2 + shape.vocabulary * shape.hidden
    weights = count * language.dtype.itemsize
    return {
        "ms": round(1000 * seconds, 3),
        "limit_ms": round(1000 * (weights + held) / bytes_a_second, 3),
        "kv_mib": round(held / 2**20, 2),
    }


def stages(count: int, new: int) -> dict[str, float]:
    """Return the median milliseconds of each stage over questions, in this process."""
    alone = Alone(MODEL, "lossless")
    for question in questions(count):
        alone.ask(question, new)
    return {name: round(1000 * statistics.median(t), 2) for name, t in alone.stages.items()}


def measure(shape: Shape, tokens: int, count: int) -> dict[str, Any]:
    """Measure the machine, both prefills and the stages.

    Args:
        shape: of the text model.
        tokens: visual tokens of the prefill.
        count: of questions for the stages.
    """
    dtype = choose_dtype("auto", torch.device("cpu"))
    rate = matrix_rate(tokens, shape.hidden, shape.mlp, dtype)
    bandwidth = memory_rate()
    language, _ = build(shape, dtype)
    shown = random_image_tokens(shape, tokens, dtype)
    found: dict[str, Any] = {"dtype": str(dtype).removeprefix("torch."),
                             "gflop_per_s": round(rate / 1e9, 1),
                             "gb_per_s": round(bandwidth / 1e9, 2)}  # fmt: skip
    for name, spu in (("off", None), ("lossless", SPU)):
        prefill_layers(language, shape, shown, spu, rate)  # warm up
        layers, work = prefill_layers(language, shape, shown, spu, rate)
        found[name] = {
            "prefill_ms": round(sum(layer.ms for layer in layers), 1),
            "prefill_limit_ms": round(sum(layer.limit_ms for layer in layers), 1),
            "step": step(language, shape, work, bandwidth),
            "layers": [asdict(layer) for layer in layers],
        }
    found["stages_ms"] = stages(count, new=32)
    return found


def draw(name: str, found: dict[str, Any]) -> None:
    """Plot prefills against their limits, and the stages."""
    prefills = {
        f"{way}{suffix}": found[way][key]
        for way in ("off", "lossless")
        for suffix, key in (("", "prefill_ms"), (", limit", "prefill_limit_ms"))
    }
    steps = {way: found[way]["step"]["ms"] for way in ("off", "lossless")}
    plots.bars(name, {"prefill, ms": prefills, "a token, ms": steps,
                      "stages of a small model, ms": found["stages_ms"]})  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("layers", 28), ("hidden", 1536), ("mlp", 8960), ("tokens", 2048),
                          ("questions", 20), ("threads", os.cpu_count() or 1)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--out", default="where", help="name in results/ (default: %(default)s)")
    parser.add_argument(
        "--no-docs", "--no-readme", action="store_true", help="leave docs/performance.md alone"
    )
    o = parser.parse_args(arguments)
    torch.set_num_threads(o.threads)
    heads = o.hidden // (Shape.hidden // Shape.heads)
    shape = replace(Shape(), layers=o.layers, hidden=o.hidden, heads=heads, mlp=o.mlp)
    found = measure(shape, o.tokens, o.questions)
    content = {"machine": report.machine(), "shape": asdict(shape), "tokens": o.tokens, **found}
    report.write(o.out, content)
    draw(o.out, found)
    into_docs(content, PAGE, write=not o.no_docs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
