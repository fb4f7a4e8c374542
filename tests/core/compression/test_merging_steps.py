"""OIM: one step along one axis against a slow reference, and the plan of all steps."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luvc_core.compression.algorithms.merge_targets import plan_targets
from luvc_core.compression.algorithms.merging import choose_pairs, smallest_side

torch.set_num_threads(1)
quick = settings(deadline=None, derandomize=True, max_examples=60)


@quick
@given(
    side=st.integers(2, 14),
    pairs=st.integers(0, 7),
    window=st.sampled_from([0, 1, 3]),
    shared=st.booleans(),
    seed=st.integers(0, 99),
    flat=st.booleans(),
)
def test_one_axis_equals_the_slow_reference(side, pairs, window, shared, seed, flat):
    pairs = min(pairs, side - smallest_side(side))
    noise = torch.Generator().manual_seed(seed)
    metric = torch.randn(2, 3, side, 4, generator=noise)
    if flat:
        metric[:, :, side // 3 :] = metric[:, :, -1:].clone()
    x = torch.randn(2, 3, side, 5, generator=noise)
    sizes = torch.randint(1, 9, (2, 3, side), generator=noise).float()
    chosen = choose_pairs(metric, pairs, window, shared)
    fast = chosen.merge(x, sizes)
    for f in range(2):
        similarity = torch.stack([cosines(line) for line in metric[f].double()])
        if shared:
            similarity = similarity.mean(0, keepdim=True).expand_as(similarity)
        for line in range(3):
            into = slow_pairs(similarity[line].tolist(), pairs, window)
            tokens, total = slow_merge(x[f, line].double(), sizes[f, line].double(), into)
            torch.testing.assert_close(fast[f, line].double(), tokens, rtol=1e-5, atol=1e-5)
            assert torch.equal(chosen.merge_sizes(sizes)[f, line].double(), total)


def cosines(line: Tensor) -> Tensor:
    unit = line / line.norm(dim=-1, keepdim=True)
    return unit @ unit.T


def slow_pairs(similarity: list[list[float]], pairs: int, window: int) -> dict[int, int]:
    """Which even place goes into which odd one, by plain loops."""
    side = len(similarity)
    best = []
    for order, a in enumerate(range(0, side, 2)):
        found = []
        for b in range(1, side, 2):
            if window == 0 or abs(a - b) <= window:
                near = -abs(a - b), b > a
                found.append((round(similarity[a][b] * 65536), near, b))
        if found:
            level, _, b = max(found)
            best.append((-level, reversed_bits(order, (side + 1) // 2), a, b))
    return {a: b for _, _, a, b in sorted(best)[:pairs]}


def reversed_bits(number: int, count: int) -> int:
    bits = max(1, math.ceil(math.log2(count)))
    return sum(((number >> i) & 1) << (bits - 1 - i) for i in range(bits))


def slow_merge(x: Tensor, sizes: Tensor, into: dict[int, int]) -> tuple[Tensor, Tensor]:
    tokens, totals = [], []
    for place in range(len(x)):
        if place in into:
            continue
        members = [place, *(a for a, b in into.items() if b == place)]
        total = sum(sizes[m] for m in members)
        tokens.append(sum(sizes[m] * x[m] for m in members) / total)
        totals.append(total)
    return torch.stack(tokens), torch.stack(totals)


def test_one_step_refuses_more_than_it_has():
    with pytest.raises(ValueError, match="cannot merge 3 pairs in lines of 4 tokens"):
        choose_pairs(torch.ones(1, 1, 4, 2), 3)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(
    side=st.integers(1, 200),
    steps=st.integers(1, 5),
    fraction=st.floats(0, 1),
    multiple=st.integers(1, 4),
)
def test_plans_are_walkable_and_suit_the_projector(side, steps, fraction, multiple):
    least = 0.5**steps
    keep = least + fraction * (1 - least)
    plan = [side, *(rows for rows, _ in plan_targets(side, side, keep, 1.0, steps, multiple))]
    assert len(plan) == steps + 1
    for before, after in itertools.pairwise(plan):
        assert smallest_side(before) <= after <= before
    if keep == 1 or side < multiple:
        assert plan[-1] == side
    else:
        assert plan[-1] % multiple == 0
        assert plan[-1] >= multiple
        assert abs(plan[-1] - side * keep) <= multiple or plan[-1] == multiple


def test_plans_of_a_usual_grid():
    assert plan_targets(32, 24, 0.5, 1.0, 2, 2) == [(23, 24), (16, 24)]
    assert plan_targets(32, 32, 0.75, 0.75, 2, 2) == [(28, 28), (24, 24)]
    assert plan_targets(27, 27, 1.0, 1.0, 2, 2) == [(27, 27), (27, 27)]
