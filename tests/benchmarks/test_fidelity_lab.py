"""The lab's arithmetic and bookkeeping: intervals, rows, resuming, tables."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.fidelity import profile_table, summary
from benchmarks.fidelity.ablations import decided, table
from benchmarks.fidelity.flops import layer_flops
from benchmarks.fidelity.harness import aims_of, missing
from benchmarks.fidelity.methods import METHODS
from benchmarks.fidelity.methods.variants import high_pass_energy
from benchmarks.fidelity.position_bias import profile
from benchmarks.fidelity.rows import Outcome, Store, rows_of
from benchmarks.fidelity.stats import retention, retention_interval
from benchmarks.fidelity.variants import ABLATIONS
from luvc_core.calibrate.confidence_intervals import wilson
from luvc_core.compression.algorithms.frequency_scores import FrequencyScoring, token_scores

pytestmark = pytest.mark.transformers


def outcome(method: str, reduction: float | None, right: bool, same: bool = True) -> Outcome:
    return Outcome(method, reduction, right, same, 25.0 if reduction else 50.0, 100, 10, 2.0, 1, 1)


def answers(count: int, right: int) -> list[list[Outcome]]:
    """`off` is always right, `luvc` on the first ones."""
    return [
        [
            outcome("off", None, True),
            outcome("luvc", 0.75, i < right, i < right),
            outcome("profile:max", None, True),
        ]
        for i in range(count)
    ]


def test_wilson_by_the_book() -> None:
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(20, 20)[1] == 1.0


def test_retention_is_paired() -> None:
    plain = [True] * 90 + [False] * 10
    assert retention(plain, plain) == 1.0
    assert retention_interval(plain, plain) == (1.0, 1.0)
    worse = [True] * 81 + [False] * 19
    assert retention(worse, plain) == pytest.approx(0.9)
    low, high = retention_interval(worse, plain)
    # The lost answers are 9 of 90: about 0.9 plus or minus 1.96 sqrt(0.1 0.9 / 90).
    assert low == pytest.approx(0.838, abs=0.015)
    assert high == pytest.approx(0.962, abs=0.015)


def test_rows_add_up() -> None:
    rows = {row.method: row for row in rows_of("tiny", "presence", answers(10, 8))}
    assert set(rows) == {"off", "luvc", "profile:max"}
    ours = rows["luvc"]
    assert (ours.accuracy, ours.retention, ours.loyalty, ours.n) == (0.8, 0.8, 0.8, 10)
    assert (ours.reduction, ours.layer_averaged_tokens, ours.matched) == (0.75, 0.25, True)
    assert (rows["profile:max"].reduction, rows["profile:max"].matched) == (0.5, False)


def test_what_is_measured_stays_and_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    aims = dict.fromkeys(aims_of([METHODS["luvc"], METHODS["profile:max"]], [0.5, 0.75]), 10)
    assert len(missing(Store(path), "tiny", "presence", aims).aims) == 3
    Store(path).keep(rows_of("tiny", "presence", answers(10, 8)))
    left = missing(Store(path), "models/tiny", "presence", aims)
    assert [(method.name, reduction) for (method, reduction), _ in left.aims] == [("luvc", 0.5)]
    assert len(missing(Store(path), "tiny", "count", aims).aims) == 3
    assert len(missing(Store(path), "tiny", "presence", dict.fromkeys(aims, 20)).aims) == 3
    asked = [missing(Store(path), "tiny", "presence", {}, plain=n).n for n in (10, 20)]
    assert asked == [0, 20]
    Store(path).keep(rows_of("tiny", "presence", answers(5, 1)))
    assert {row["n"] for row in json.loads(path.read_text())["rows"]} == {10}
    Store(path).keep(rows_of("tiny", "presence", answers(20, 20)))
    assert {row["n"] for row in Store(path).rows} == {20}


def stored(retentions: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for task in ("presence", "count"):
        for method, value in retentions.items():
            right = [[outcome("off", None, True), outcome(method, 0.75, i < 100 * value)]
                     for i in range(100)]  # fmt: skip
            rows += [vars(row) for row in rows_of("tiny", task, right)]
    return rows


def test_tables_rank_and_admit_losses() -> None:
    rows = stored({"luvc": 0.9, "random": 0.5, "pact": 0.95})
    header, lines = summary.comparison(rows, "tiny")
    assert header == ["method", "-75 %"]
    loyal = "(100.0)"
    assert lines == [
        ["pact", f"95.0 {loyal}"], ["luvc", f"90.0 {loyal}"], ["random", f"50.0 {loyal}"]
    ]  # fmt: skip
    (sentence,) = summary.where_others_win(rows, "tiny")
    assert "presence (pact 95.0, ours 90.0)" in sentence
    assert summary.where_others_win(stored({"luvc": 0.9, "random": 0.9}), "tiny") == []


def test_the_page_is_rewritten_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "fidelity.md"
    page.write_text("before\n<!-- fidelity:begin -->\nold\n<!-- fidelity:end -->\nafter\n")
    summary.into_docs(stored({"luvc": 0.9}), page)
    once = page.read_text()
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "| luvc | 90.0 (100.0) |" in once
    assert "old" not in once
    summary.into_docs(stored({"luvc": 0.9}), page)
    assert page.read_text() == once
    page.write_text("nothing")
    with pytest.raises(ValueError, match="needs one"):
        summary.into_docs([], page)


def test_without_compression_there_is_nothing_to_compare() -> None:
    assert summary.markdown(stored({"off": 0.9})) == "Not measured yet."


def test_what_profiles_keep_in_one_table() -> None:
    rows = stored({"profile:lossless": 0.98, "profile:max": 0.9})
    rows += [{**row, "task": "chart", "retention": 1.0, "reduction": 0.6} for row in rows[:2]]
    lossless, largest = profile_table.markdown(rows).splitlines()[2:]
    assert lossless == (
        "| `lossless` | 100 | 75 %, charts and documents 60 % | 98.0 % (presence, tiny) | 1 of 3 "
        "| 100.0 % (presence, tiny) | 3 of 3 | 100 % |"
    )
    assert "90.0 % (presence, tiny) | 0 of 2" in largest
    assert profile_table.markdown(stored({"luvc": 0.9})) == "Not measured yet."


def test_flops_by_hand() -> None:
    # 3 tokens: 2 * 3 * 100 for the weights; 1 + 2 + 3 pairs, two products of 2 * 8 each.
    assert layer_flops([3], weights=100, queries=8) == 600 + 6 * 2 * 2 * 8


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_has_its_default_and_travels_to_other_processes(name: str) -> None:
    ablation = ABLATIONS[name]
    names = [method.name for method in ablation.variants]
    assert len(set(names)) == len(names)
    assert ablation.default in names
    again = pickle.loads(pickle.dumps(ablation.variants))
    assert [method.name for method in again] == names


def test_ablations_say_what_they_decide() -> None:
    rows = stored({"positions: original": 0.9, "positions: renumbered": 0.5})
    for row in rows:
        row["loyalty"] = row["accuracy"]
    assert table(rows, "positions", 0.75).splitlines()[1].split()[:2] == ["original", "90.0"]
    said = decided(rows, "positions", 0.75)
    assert said == "original, the default, keeps most answers (90.0 %, n = 200)."
    for row in rows:
        row["loyalty"] = 1.4 - row["loyalty"]
    said = decided(rows, "positions", 0.75)
    assert said.startswith("renumbered keeps most answers (90.0 %), 40.0 points over original")
    assert "more than chance" in said


def test_other_axes_by_hand() -> None:
    """Where there is one frame of one row, all axes are the same line."""
    hidden = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    expected = token_scores(hidden, torch.arange(8), (1, 1, 8), FrequencyScoring(axis="raster"))
    for axis in ("frame", "volume"):
        torch.testing.assert_close(high_pass_energy(hidden, (1, 1, 8), axis, 0.5), expected)
    # Frames that differ are told apart by the volume alone.
    frames = torch.tensor([1.0, -1.0]).repeat_interleave(4).view(8, 1).repeat(1, 3)
    assert high_pass_energy(frames, (2, 1, 4), "frame", 0.5).max() < 1e-6
    assert high_pass_energy(frames, (2, 1, 4), "volume", 0.5).min() > 1


def test_slopes_by_hand() -> None:
    flat = profile("x", [torch.ones(10), 3 * torch.ones(10)])
    assert (flat.slope, flat.error) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9))
    # From 0 to 2 around a mean of 1.
    assert profile("x", [torch.linspace(0, 2, 50)]).slope == pytest.approx(2.0)
