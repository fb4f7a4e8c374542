"""Where the time goes: what is measured, and what the docs say of it."""

import json
from pathlib import Path

import pytest

from benchmarks.common import report
from benchmarks.serving import time_breakdown, time_breakdown_docs


def test_a_small_model_is_measured_layer_by_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- where:begin -->\nold\n<!-- where:end -->\nafter\n")
    monkeypatch.setattr(time_breakdown, "PAGE", page)
    monkeypatch.setattr(time_breakdown, "memory_rate", lambda: 1e9)
    small = ["--layers", "8", "--hidden", "256", "--mlp", "512", "--tokens", "64",
             "--questions", "1", "--threads", "1"]  # fmt: skip
    assert time_breakdown.main(small) == 0
    found = json.loads((tmp_path / "where.json").read_text())
    assert [layer["tokens"] for layer in found["off"]["layers"]] == [64 + 64] * 8
    assert found["lossless"]["layers"][-1]["tokens"] == 64
    assert found["off"]["step"]["kv_mib"] > found["lossless"]["step"]["kv_mib"]
    # By hand: the operations of a layer that all of 128 tokens enter.
    weights = 2 * 256 * 256 + 2 * 256 * 256 + 3 * 256 * 512
    flops = 2 * 128 * weights + 2 * 128 * 129 * 256
    limit = found["off"]["layers"][0]["limit_ms"]
    assert limit == pytest.approx(flops / found["gflop_per_s"] / 1e6, rel=0.01, abs=0.001)
    assert set(found["stages_ms"]) == {"media", "encode", "prefill", "decode"}
    assert (tmp_path / "where.png").is_file()
    text = page.read_text()
    assert text.startswith("before\n<!-- where:begin -->\nOn 1 of")
    assert text.endswith("<!-- where:end -->\nafter\n")
    assert "old" not in text


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="needs one <!-- where:begin -->"):
        report.between_marks(page, "where", "text")
    assert "<!-- where:begin -->" in time_breakdown_docs.PAGE.read_text()
