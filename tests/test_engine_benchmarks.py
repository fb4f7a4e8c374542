"""The logic of the engine's benchmarks, at sizes where it takes no time."""

import torch

from benchmarks import llm, serve
from benchmarks.random_languages import Shape


def test_a_random_language_model_is_measured_in_all_ways() -> None:
    shape = Shape(layers=6, hidden=64, heads=4, mlp=96, vocabulary=100, context=4096)
    runs = llm.measure(shape, tokens=64, new=3, turns=1, dtype=torch.float32)
    assert [(r.name, r.visual_tokens) for r in runs] == [
        ("off", 64), ("lossless", 64), ("generate", 64), ("unmerged", 256),
    ]  # fmt: skip
    off, lossless = runs[:2]
    # Keys and values, 4 bytes each, of two heads of 16; 64 tokens of text and 2 of the answer.
    assert off.kv_bytes == 6 * (64 + 64 + 2) * 2 * 2 * 16 * 4
    assert lossless.kv_bytes == off.kv_bytes - 6 * (64 - lossless.average) * 2 * 2 * 16 * 4
    # Stock code keeps the same, in caches that are not cut.
    assert runs[2].kv_bytes == off.kv_bytes
    assert 0 < lossless.pruning < lossless.first
    found = llm.ratios(runs)
    assert list(found) == ["prefill_speedup", "answer_speedup", "kv_bytes_ratio",
                           "ttft_8192_speedup", "spu_cost_share", "off_vs_generate"]  # fmt: skip
    assert found["kv_bytes_ratio"] == round(lossless.kv_bytes / off.kv_bytes, 4)


def test_the_ratios_of_the_services_are_those_of_the_rows() -> None:
    def answer(text: str | None, seconds: float) -> serve.Asked:
        return serve.Asked(text, 0.1, (), seconds)

    rows = [serve.Row(n, 2, 0, rate, *[0.0] * 4) for n, rate in ((1, 2.0), (32, 7.0))]
    alone = [answer("a", 0.2), answer("b", 0.2)]
    answers = {1: [answer("a", 0.21), answer("b", 0.21)], 32: [answer("a", 1.0), answer("b", 1.0)]}
    found = serve.ratios(rows, answers, alone, 2.5)
    assert (found["throughput_32_vs_1"], found["service_overhead_ms"]) == (3.5, 10.0)
    assert found["identical_tokens"] is True
    answers[32][1] = answer(None, 1.0)
    assert serve.ratios(rows, answers, alone, 2.5)["identical_tokens"] is False
