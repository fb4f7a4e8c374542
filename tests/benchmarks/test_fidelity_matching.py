"""Every method at equal layer-averaged tokens, and what that is computed with."""

import itertools
from typing import Any

import pytest

from benchmarks.fidelity.matching import (
    Stages,
    Unreachable,
    balanced_layer,
    geometric,
    one_shot,
    pyramid,
    smaller_grid,
)
from benchmarks.fidelity.methods.luvc import matched_ramp
from benchmarks.fidelity.methods.v2drop import stages as v2drop_stages
from luvc_core.compression.algorithms.schedule_budget import matched_first_keep
from luvc_core.compression.algorithms.schedules import layer_average
from luvc_core.compression.settings import Ramp, SpuSettings

REDUCTIONS = (0.5, 0.67, 0.75, 0.9)
SHAPES = pytest.mark.parametrize(("layers", "tokens"), [(12, 256), (12, 512), (28, 1024)])


def staged(name: str, layers: int, tokens: int, target: float) -> tuple[int, ...]:
    stages = {
        "fastv": lambda: one_shot(layers, 2, 1, target),
        "pact": lambda: one_shot(layers, round(4 / 28 * layers), 0, target),
        "pyramiddrop": lambda: pyramid(layers, target),
        "v2drop": lambda: v2drop_stages(layers, tokens, target),
        "random": lambda: Stages((0,), (target,)),
    }[name]()
    return stages.counts(layers, tokens)


@SHAPES
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["fastv", "pact", "pyramiddrop", "v2drop", "random"])
def test_stages_meet_the_target_within_a_token_or_two(
    name: str, reduction: float, layers: int, tokens: int
) -> None:
    counts = staged(name, layers, tokens, 1 - reduction)
    assert abs(layer_average(counts) - (1 - reduction) * tokens) < 1.5
    assert all(a >= b for a, b in itertools.pairwise(counts))


@SHAPES
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ramps_of_ours_meet_the_target(reduction: float, layers: int, tokens: int) -> None:
    ramps = [
        matched_ramp(layers, 1 - reduction),
        Ramp(first_keep=matched_first_keep(layers, 0.0, 1.0, 1 - reduction)),
    ]
    for ramp in ramps:
        counts = SpuSettings(ramp).layer_counts(layers, tokens)
        assert abs(layer_average(counts) - (1 - reduction) * tokens) < 1.5


def test_half_of_the_tokens_is_an_early_ramp_and_the_papers_cascade() -> None:
    ramp = matched_ramp(12, 0.5)
    assert (ramp.start, ramp.end) == (0.1, 0.8)
    assert ramp.first_keep == pytest.approx(1.0, abs=1e-3)
    assert matched_first_keep(12, 0.0, 1.0, 0.5) == pytest.approx(1.0, abs=1e-3)


def test_counts_of_stages_by_hand() -> None:
    stages = Stages((1, 3), (0.5, 0.06))
    assert stages.counts(4, 10) == (10, 5, 5, 1)
    assert Stages((4,), (0.0,)).counts(4, 10) == (10,) * 4


def test_one_shot_by_hand() -> None:
    # 12 layers of which the average holds a half: 2 hold all, 10 hold 40 %.
    assert one_shot(12, 2, 1, 0.5) == Stages((2,), (pytest.approx(0.4),))  # type: ignore[arg-type]
    # A tenth is 1.2 layers: one holds all, 11 hold 0.2 / 11.
    found = one_shot(12, 2, 1, 0.1)
    assert found.starts == (1,)
    assert found.keeps[0] == pytest.approx(0.2 / 11)


def test_pyramids_of_the_published_share_stand_at_the_quarters() -> None:
    # A quarter each of 1, 1/2, 1/4 and 1/8.
    found = pyramid(32, (1 + 1 / 2 + 1 / 4 + 1 / 8) / 4)
    assert found.starts == (8, 16, 24)
    assert found.keeps == pytest.approx((0.5, 0.25, 0.125), abs=1e-4)


def test_what_cannot_be_reached_is_said() -> None:
    with pytest.raises(Unreachable):
        one_shot(5, 2, 1, 0.1)
    with pytest.raises(Unreachable):
        pyramid(5, 0.1)
    with pytest.raises(Unreachable):
        geometric(12, (3, 6, 9), 0.1)


@pytest.mark.parametrize("target", [0.5, 0.33, 0.25, 0.1])
def test_whole_layers_are_dealt_out_to_the_target(target: float) -> None:
    layers = [balanced_layer(12, target, index) for index in range(100)]
    assert sum(layers) / 100 / 12 == pytest.approx(target, abs=0.01 / 12)
    assert max(layers) - min(layers) <= 1


@pytest.mark.parametrize(
    ("grid", "target", "expected"),
    [
        ((16, 16), 0.25, (8, 8)),
        ((16, 16), 0.5, (12, 11)),
        ((8, 16), 0.25, (4, 8)),
        ((10, 10), 1.0, (10, 10)),
    ],
)
def test_smaller_grids(grid: tuple[int, int], target: float, expected: tuple[int, int]) -> None:
    found = smaller_grid(*grid, target)
    assert found == expected or found[::-1] == expected


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ending", [0, 1])
def test_smaller_grids_are_near_the_target(reduction: float, ending: int) -> None:
    """A grid has only whole sides: within six in a hundred of the target."""
    for side in (8, 16, 27):
        rows, columns = smaller_grid(side, side, 1 - reduction, ending)
        wanted: Any = (1 - reduction) * side * (side + ending)
        assert rows * (columns + ending) == pytest.approx(wanted, rel=0.07, abs=1)
