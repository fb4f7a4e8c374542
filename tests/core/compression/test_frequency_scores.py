"""SPU scores, against a plain discrete Fourier transform and by their symmetries."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from luvc_core.compression.algorithms.frequency_scores import (
    FrequencyScoring,
    token_scores,
    top_indices,
)
from tests.core.compression.test_low_pass import cutoffs, noise, plain_columns, quick

torch.set_num_threads(1)
GRID = (2, 4, 6)
AXES = ("raster", "grid", "channels")
BANDS = ("low_pass", "high_pass")


def everything(grid: tuple[int, int, int]) -> Tensor:
    return torch.arange(math.prod(grid))


def scored(hidden: Tensor, indices: Tensor, grid: tuple[int, int, int], **options: Any) -> Tensor:
    return token_scores(hidden, indices, grid, FrequencyScoring(**options))


@quick
@given(cutoff=cutoffs, axis=st.sampled_from(AXES), seed=st.integers(0, 99))
def test_scores_equal_a_plain_filter(cutoff, axis, seed):
    hidden = noise(48, 5, seed=seed)
    if axis == "raster":
        smooth = plain_columns(hidden, cutoff)
    elif axis == "channels":
        smooth = plain_columns(hidden.T, cutoff).T
    else:
        frames = hidden.view((*GRID, 5))
        along = torch.stack([torch.stack([plain_columns(r, cutoff) for r in f]) for f in frames])
        turned = along.transpose(1, 2)
        down = torch.stack([torch.stack([plain_columns(c, cutoff) for c in f]) for f in turned])
        smooth = down.transpose(1, 2).reshape(48, 5)
    for score, part in (("low_pass", smooth), ("high_pass", hidden - smooth)):
        scores = scored(
            hidden, everything(GRID), GRID, score=score, cutoff=cutoff, axis=axis, normalize=False
        )
        torch.testing.assert_close(scores, part.square().sum(-1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("axis", ["raster", "grid"])
def test_a_flat_image_is_all_low_pass(axis):
    hidden = noise(1, 7).expand(48, 7)
    low, high = (
        scored(hidden, everything(GRID), GRID, score=s, axis=axis, normalize=False) for s in BANDS
    )
    torch.testing.assert_close(low, hidden.square().sum(-1))
    assert high.max() < 1e-8


@pytest.mark.parametrize("axis", ["raster", "grid"])
def test_one_token_that_stands_out_leads_the_high_pass(axis):
    hidden = noise(1, 7).repeat(48, 1)
    hidden[29] = noise(7, seed=1)
    scores = scored(hidden, everything(GRID), GRID, score="high_pass", axis=axis)
    assert scores.argmax() == 29


def test_the_grid_treats_frames_apart():
    hidden = noise(48, 5)
    other = torch.cat((hidden[:24], noise(24, 5, seed=1)))
    scores, changed = (
        scored(h, everything(GRID), GRID, score="low_pass", axis="grid") for h in (hidden, other)
    )
    assert torch.equal(scores[:24], changed[:24])
    places = torch.arange(0, 48, 3)
    few, few_changed = (scored(h[places], places, GRID, axis="grid") for h in (hidden, other))
    assert torch.equal(few[:8], few_changed[:8])


@quick
@given(
    rows=st.integers(0, 3),
    columns=st.integers(0, 5),
    score=st.sampled_from(BANDS),
    normalize=st.booleans(),
)
def test_an_image_moved_round_moves_its_scores(rows, columns, score, normalize):
    def moved(x: Tensor) -> Tensor:
        return x.view(*GRID, -1).roll((rows, columns), (1, 2)).reshape(48, -1)

    hidden = noise(48, 5)
    options = {"score": score, "axis": "grid", "normalize": normalize}
    scores = scored(hidden, everything(GRID), GRID, **options)
    after = scored(moved(hidden), everything(GRID), GRID, **options)
    torch.testing.assert_close(after, moved(scores).view(48))
    line = hidden.roll(columns, 0)
    options["axis"] = "raster"
    after = scored(line, everything(GRID), GRID, **options)
    torch.testing.assert_close(
        after, scored(hidden, everything(GRID), GRID, **options).roll(columns, 0)
    )


@quick
@given(score=st.sampled_from(BANDS), axis=st.sampled_from(("raster", "grid")))
def test_the_order_of_channels_does_not_matter(score, axis):
    hidden = noise(48, 9)
    shuffled = hidden[:, torch.randperm(9, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(
        *(scored(h, everything(GRID), GRID, score=score, axis=axis) for h in (hidden, shuffled))
    )


@pytest.mark.parametrize("score", BANDS)
@pytest.mark.parametrize("axis", AXES)
def test_normalised_scores_ignore_the_scale_of_tokens(score, axis):
    hidden = noise(48, 9)
    scaled = hidden * torch.linspace(0.5, 40, 48).unsqueeze(1)
    torch.testing.assert_close(
        *(scored(h, everything(GRID), GRID, score=score, axis=axis) for h in (hidden, scaled)),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("score", BANDS)
@pytest.mark.parametrize("axis", AXES)
def test_sampling_does_not_matter_while_nothing_is_pruned(score, axis):
    hidden = noise(48, 5)
    filled, index = (
        scored(hidden, everything(GRID), GRID, score=score, axis=axis, sampling=s)
        for s in ("filled", "index")
    )
    assert torch.equal(filled, index)


@pytest.mark.parametrize("score", BANDS)
@pytest.mark.parametrize("axis", ["raster", "grid"])
def test_filled_equals_the_image_with_its_holes_painted_over(score, axis):
    hidden, places = noise(48, 5), torch.arange(1, 48, 3)
    frame_of = everything(GRID) // 24 if axis == "grid" else everything(GRID) * 0
    painted = torch.stack([hidden[places][frame_of[places] == f].mean(0) for f in frame_of])
    painted[places] = hidden[places]
    options = {"score": score, "axis": axis, "normalize": False}
    whole = scored(painted, everything(GRID), GRID, **options)
    torch.testing.assert_close(scored(hidden[places], places, GRID, **options), whole[places])


@pytest.mark.parametrize("axis", ["raster", "grid"])
def test_index_takes_survivors_as_one_line(axis):
    hidden, places = noise(16, 5), torch.arange(1, 48, 3)
    scores = scored(hidden, places, GRID, axis=axis, sampling="index")
    line = scored(hidden, torch.arange(16), (1, 1, 16), axis="raster")
    torch.testing.assert_close(scores, line)


@pytest.mark.parametrize("sampling", ["filled", "index"])
def test_channels_look_at_each_token_alone(sampling):
    hidden, places = noise(48, 8), torch.tensor([3, 17, 40])
    whole = scored(hidden, everything(GRID), GRID, axis="channels")
    few = scored(hidden[places], places, GRID, axis="channels", sampling=sampling)
    torch.testing.assert_close(few, whole[places])


@pytest.mark.parametrize("axis", ["grid", "channels"])
def test_a_score_that_nobody_knows_is_no_other_one(axis):
    scoring = FrequencyScoring("high_pas", axis=axis)
    with pytest.raises(ValueError, match="'high_pas' measures no band"):
        token_scores(torch.ones(4, 2), torch.arange(4), (1, 2, 2), scoring)


def test_norm_and_random():
    hidden = noise(48, 5)
    norm = scored(hidden, everything(GRID), GRID, score="norm")
    torch.testing.assert_close(norm, hidden.square().sum(-1))
    first, again = (scored(h, everything(GRID), GRID, score="random") for h in (hidden, -hidden))
    assert torch.equal(first, again)
    assert first.unique().numel() == 48


@pytest.mark.parametrize("score", ["low_pass", "high_pass", "norm", "random"])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_are_float32_and_finite(score, axis, dtype):
    hidden = noise(5, 4).to(dtype)
    hidden[2] = 0
    for grid, places in (((1, 1, 5), torch.arange(5)), ((3, 2, 2), torch.tensor([0, 1, 2, 9, 11]))):
        scores = scored(hidden, places, grid, score=score, axis=axis)
        assert scores.shape == (5,)
        assert scores.dtype == torch.float32
        assert scores.isfinite().all()


@quick
@given(scores=st.lists(st.integers(0, 5), max_size=20), count=st.integers(0, 25))
def test_top_indices_are_the_highest_in_their_order(scores, count):
    kept = top_indices(torch.tensor(scores, dtype=torch.float32), count)
    expected = sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count])
    assert kept.tolist() == expected
    assert kept.dtype == torch.int64
