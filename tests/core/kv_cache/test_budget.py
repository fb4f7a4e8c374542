"""Accounts of keys and values: never over the bound, back to zero."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luvc_core.kv_cache.budget import KvBudget, kv_rows


@settings(deadline=None, derandomize=True)
@given(
    room=st.integers(0, 100),
    work=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60),
)
def test_the_pool_is_never_over_its_bound_and_ends_empty(
    room: int, work: list[tuple[bool, int]]
) -> None:
    pool, held, most = KvBudget(room), [], 0
    for takes, size in work:
        if takes:
            fits = sum(held) + size <= room
            assert pool.reserve(size) is fits
            held += [size] * fits
        elif held:
            pool.release(held.pop(size % len(held)))
        most = max(most, sum(held))
        assert pool.used == sum(held) <= room
        assert pool.peak == most
    for size in held:
        pool.release(size)
    assert pool.used == 0


@settings(deadline=None, derandomize=True)
@given(used=st.integers(0, 9), given_back=st.integers(-5, 20))
def test_no_more_is_given_back_than_taken(used: int, given_back: int) -> None:
    pool = KvBudget(10)
    assert pool.reserve(used)
    fits = 0 <= given_back <= used
    with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="given back"):
        pool.release(given_back)
    assert pool.used == (used - given_back if fits else used)


def test_rows_are_text_and_what_pruning_leaves_and_the_answer_but_its_last_token() -> None:
    assert kv_rows(10, (6, 3, 0), 4) == (19, 16, 13)
