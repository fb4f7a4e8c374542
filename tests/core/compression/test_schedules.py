"""Schedules: how many visual tokens enter each layer."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luvc_core.compression.algorithms.schedules import (
    RampShape,
    layer_average,
    ramp_shares,
    token_counts,
)

SHAPES: tuple[RampShape, ...] = ("linear", "cosine", "step")

ramps = st.fixed_dictionaries(
    {
        "layer_count": st.integers(1, 80),
        "start": st.floats(0, 0.99),
        "end": st.just(1.0),
        "shape": st.sampled_from(SHAPES),
        "every": st.integers(1, 9),
        "first_keep": st.floats(0.01, 1),
        "steps": st.integers(1, 90),
    }
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(ramp=ramps, end=st.floats(0, 1, exclude_min=True), tokens=st.integers(0, 9000))
def test_shares_fall_from_all_to_none(ramp, end, tokens):
    ramp["end"] = ramp["start"] + end * (1 - ramp["start"])
    shares = ramp_shares(**ramp)
    last = ramp["layer_count"] - 1
    assert len(shares) == ramp["layer_count"]
    assert shares[-1] == 0
    assert all(0 <= b <= a <= 1 for a, b in itertools.pairwise(shares))
    for layer, share in enumerate(shares):
        if layer < ramp["start"] * last - 1e-6:
            assert share == 1
        if layer > ramp["end"] * last + 1e-6:
            assert share == 0

    layers = token_counts(shares, tokens)
    assert layers[-1] == 0
    assert all(0 <= b <= a <= tokens for a, b in itertools.pairwise(layers))
    assert all(n == tokens for n, s in zip(layers, shares, strict=True) if s == 1)
    assert abs(layer_average(layers) - tokens * sum(shares) / len(shares)) <= 0.5


@settings(deadline=None, derandomize=True)
@given(ramp=ramps)
def test_every_allows_changes_only_at_every_nth_layer(ramp):
    shares = ramp_shares(**ramp)
    changes = [i for i in range(1, len(shares)) if shares[i] != shares[i - 1]]
    assert all(b - a >= ramp["every"] for a, b in itertools.pairwise(changes[:-1]))


@settings(deadline=None, derandomize=True)
@given(ramp=ramps)
def test_first_pruning_keeps_first_keep(ramp):
    if ramp["shape"] == "step":
        return
    less = [share for share in ramp_shares(**ramp) if share < 1]
    if ramp["first_keep"] < 1 and less[0] > 0:
        assert less[0] == ramp["first_keep"]


def test_the_documented_example():
    shares = ramp_shares(12, start=0.4, end=1)
    assert shares == pytest.approx((1,) * 6 + (5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0))


def test_the_paper_cascade_reaches_half_on_average():
    assert token_counts(ramp_shares(8, 0, 1), 64) == (64, 55, 46, 37, 27, 18, 9, 0)
    assert layer_average(token_counts(ramp_shares(8, 0, 1), 64)) == pytest.approx(32)


def test_end_leaves_the_layers_after_it_without():
    assert ramp_shares(9, 0.25, 0.5) == pytest.approx((1, 1, 1, 0.5, 0, 0, 0, 0, 0))


def test_cosine_is_slow_fast_slow():
    shares = ramp_shares(5, 0, 1, "cosine")
    assert shares == pytest.approx((1, 0.8535534, 0.5, 0.1464466, 0))


def test_step_drops_all_at_once():
    assert ramp_shares(8, 0.5, 1, "step") == (1, 1, 1, 1, 0, 0, 0, 0)


@settings(deadline=None, derandomize=True)
@given(ramp=ramps)
def test_the_count_changes_no_oftener_than_steps_allow(ramp):
    shares = ramp_shares(**ramp)
    assert len({share for share in shares if 0 < share < 1}) <= ramp["steps"]


@pytest.mark.parametrize(("layer_count", "every"), [(1, 1), (12, 1), (13, 2), (24, 3), (80, 8)])
def test_by_default_deep_models_prune_at_some_layers_only(layer_count, every):
    shares = ramp_shares(layer_count, 0, 1, first_keep=0.9)
    assert shares == ramp_shares(layer_count, 0, 1, every=every, first_keep=0.9, steps=1000)


def test_start_on_a_layer_in_spite_of_rounding():
    assert 0.28 * 25 > 7
    assert ramp_shares(26, 0.28, 1, first_keep=0.5)[6:8] == (1, 0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_single_layer_sees_none(shape):
    assert ramp_shares(1, 0.0, 1.0, shape) == (0,)
    assert token_counts((0.0,), 100) == (0,)


def test_counts_round_half_up():
    assert token_counts((1.0, 0.5, 0.1, 0.0), 5) == (5, 3, 1, 0)
