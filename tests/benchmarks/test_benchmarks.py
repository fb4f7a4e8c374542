"""The logic of the benchmarks, at sizes where it takes no time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.common import report
from benchmarks.common.merge_1d import Recorder, displacement, merge_flat
from benchmarks.common.merging_override import Merge, merging_by
from benchmarks.common.random_vision_half import Geometry, build
from benchmarks.compute import tower, tower_runs
from benchmarks.serving import message_size
from benchmarks.serving.autoscaling.load_phases import Row as Phase
from benchmarks.serving.autoscaling.load_phases import followed
from benchmarks.serving.token_transfer.inline_threshold import Point, best_threshold
from benchmarks.serving.token_transfer.repeated_images import REPEATS, mixed
from luvc_core.compression.algorithms.merging import merge_grid
from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.compression.settings import OimSettings
from luvc_core.models.vision import tower as tower_module

SMALL = {
    "qwen2_vl": Geometry("qwen2_vl", 4, 64, 256, 2, side=8, hidden=32),
    "internvl": Geometry("internvl", 4, 64, 256, 2, side=8, frames=2, prefix=1, hidden=32),
    "llava_onevision": Geometry("llava_onevision", 4, 64, 172, 2, side=9, multiple=1, hidden=32),
}
TOKENS = {"qwen2_vl": (16, 4), "internvl": (32, 8), "llava_onevision": (81, 25)}
HALF = OimSettings(keep_rows=0.5, keep_columns=0.5)


@pytest.mark.parametrize("family", SMALL)
def test_a_random_tower_is_measured_with_and_without_merging(family: str) -> None:
    (row,) = tower.measure(family, SMALL[family], ["middle"], turns=1)
    assert (row.source_tokens, row.merged_tokens) == TOKENS[family]
    assert row.blocks == (1, 2)
    assert row.before_share > 0
    assert 0 < row.merging_s < row.merged_s
    assert row.ideal_ratio > 1


@pytest.mark.parametrize("family", SMALL)
def test_a_random_tower_computes_something(family: str) -> None:
    half, patches = build(SMALL[family])
    (tokens,) = half.encode([patches], OimSettings())
    assert tokens.embeddings.isfinite().all()
    assert tokens.embeddings.std(dim=0).min() > 0


def test_flops_are_those_of_the_matrix_products() -> None:
    geometry = SMALL["internvl"]
    # Queries, keys, values, output; two of the MLP; two of attention; 65 tokens in 2 frames.
    block = 2 * 2 * 65 * (4 * 64 * 64 + 2 * 64 * 256 + 2 * 65 * 64)
    assert tower_runs.flops(geometry, OimSettings()) == 4 * block
    smaller = (geometry.block_flops(36), geometry.block_flops(16))
    assert tower_runs.flops(geometry, HALF) == 2 * block + sum(smaller)


def test_another_way_of_merging_goes_away_with_its_context() -> None:
    def fail(*_: object, **__: object) -> TokenGrid:
        raise ZeroDivisionError

    half, patches = build(SMALL["qwen2_vl"])
    with pytest.raises(ZeroDivisionError), merging_by(fail):
        half.encode([patches], HALF)
    assert vars(tower_module)["merge_grid"] is merge_grid


def test_a_single_line_merges_alike_in_1d() -> None:
    x = torch.randn(2, 1, 16, 6, generator=torch.Generator().manual_seed(0))
    lines, flat = (merge(TokenGrid.of_source(x), 1, 9, x) for merge in (merge_grid, merge_flat))
    assert torch.equal(lines.hidden, flat.hidden)
    assert torch.equal(lines.positions, flat.positions)


@pytest.mark.parametrize("merge", [merge_grid, merge_flat])
def test_the_record_says_what_each_token_stands_for(merge: Merge) -> None:
    x = torch.randn(1, 8, 8, 6, generator=torch.Generator().manual_seed(0))
    recorder = Recorder(merge)
    once = recorder(TokenGrid.of_source(x), 6, 6, x)
    merged = recorder(once, 4, 4, once.hidden)
    owners = recorder.owners(side=1)
    assert torch.equal(owners.flatten().bincount(), merged.sizes.flatten().long())
    for token in range(16):
        mean = (owners == token).nonzero().float().mean(0)
        torch.testing.assert_close(mean, merged.positions[0].flatten(0, 1)[token])


def test_what_stays_in_its_place_is_not_displaced() -> None:
    tokens = torch.arange(16).view(4, 4)
    assert displacement(tokens, 4, 4) == 0
    assert displacement(tokens.flip(1), 4, 4) == 2


@pytest.mark.parametrize(
    ("family", "tokens"),
    [("internvl", (8192, 2048)), ("llava_onevision", (6273, 1569)), ("qwen2_vl", (4096, 1024))],
)
def test_reference_videos_have_their_known_token_counts(
    family: str, tokens: tuple[int, int]
) -> None:
    (video,) = (v for v in message_size.VIDEOS if v.tower.family == family)
    video = replace(video, tower=replace(video.tower, hidden=8))
    row = message_size.measure(video, message_size.MERGED)
    assert (row.source_tokens, row.merged_tokens) == tokens
    # Two bytes a value, three places and a size in float32, and a little that does not grow.
    assert 0 < row.source_bytes - row.source_tokens * (8 * 2 + 16) < 1000


def test_results_of_other_towers_stay_and_count_in_the_ratios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(name: str, ratio: float, schedule: str = "middle") -> dict[str, object]:
        return {"tower": name, "schedule": schedule, "ratio": ratio,
                "merging_s": 0.1, "merged_s": ratio}  # fmt: skip

    monkeypatch.setattr(report, "RESULTS", tmp_path)
    first = [row("internvl", 1.0), row("qwen2_vl", 2.0), row("qwen2_vl", 3.0, "early")]
    for rows in (first, [row("internvl", 4.0)]):
        report.update("tower", "tower", rows, report.machine(), tower.ratios)
    kept = json.loads((tmp_path / "tower.json").read_text())
    assert kept["rows"] == [*first[1:], row("internvl", 4.0)]
    assert kept["ratios"] == {
        "speedup_qwen2vl": 2.0, "speedup_internvit": 4.0, "oim_cost_share": 0.05
    }  # fmt: skip
    tower.draw([{**kept["rows"][0], "plain_s": 2.0}])
    assert (tmp_path / "tower.png").is_file()


def test_tokens_travel_inline_up_to_where_fetching_is_faster() -> None:
    def points(inline: list[float], encoder: list[float]) -> list[Point]:
        ways = {"inline": inline, "encoder": encoder, "redis": encoder}
        return [
            Point(w, 10 * (i + 1), ms, ms)
            for w, found in ways.items()
            for i, ms in enumerate(found)
        ]

    assert best_threshold(points([1, 2, 9], [4, 4, 5])) == 20
    # A margin below what can be told from noise is none.
    assert best_threshold(points([1, 2, 5.1], [4, 4, 5])) == 30
    assert best_threshold(points([4, 5], [1, 2])) == 0


def test_four_of_five_requests_are_repeats() -> None:
    asked = mixed(20)
    assert len(asked) == 20
    assert len({q.files for q in asked}) == round(20 * (1 - REPEATS))
    assert asked == mixed(20)


def test_only_the_half_that_scales_may_come_and_go() -> None:
    def rows(*counts: tuple[tuple[int, ...], tuple[int, ...]]) -> list[Phase]:
        return [
            Phase("replicas", "", clients, 1, 0, 1.0, encoders, replicas, ())
            for clients, (encoders, replicas) in zip((1, 12, 1), counts, strict=True)
        ]

    assert followed(rows(((1,), (1,)), ((1,), (1, 2)), ((1,), (2, 1))))
    assert not followed(rows(((1,), (1,)), ((1,), (1,)), ((1,), (1,))))
    assert not followed(rows(((1,), (1,)), ((1, 2), (1, 2)), ((1,), (2, 1))))
    assert not followed(rows(((1,), (1,)), ((1,), (1, 2)), ((1,), (2,))))
