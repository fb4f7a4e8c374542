"""The growing cache of one layer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luvc_core.kv_cache.layer_cache import LayerCache


def some(tokens: int, size: int = 3, heads: int = 2) -> torch.Tensor:
    return torch.randn(1, heads, tokens, size)


@settings(deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(0, 90), min_size=1, max_size=12))
def test_append_equals_concatenation(lengths):
    torch.manual_seed(0)
    cache = LayerCache()
    keys, values, views = [], [], []
    for length in lengths:
        keys.append(some(length))
        values.append(some(length, size=5))
        views.append(cache.append(keys[-1], values[-1]))
        assert torch.equal(views[-1][0], torch.cat(keys, 2))
        assert torch.equal(views[-1][1], torch.cat(values, 2))
        assert torch.equal(cache.keys, views[-1][0])
        assert torch.equal(cache.values, views[-1][1])
        assert cache.length == sum(lengths[: len(keys)])
        assert cache.byte_count == cache.length * 2 * (3 + 5) * 4
    for n, (key_view, value_view) in enumerate(views, 1):
        assert torch.equal(key_view, torch.cat(keys[:n], 2))
        assert torch.equal(value_view, torch.cat(values[:n], 2))


def test_empty():
    cache = LayerCache()
    assert (cache.length, cache.byte_count, cache.keys, cache.values) == (0, 0, None, None)


def test_the_callers_tensors_are_never_written_to():
    cache, keys, values = LayerCache(), some(4), some(4)
    before = keys.clone(), values.clone()
    for _ in range(3):
        cache.append(some(1), some(1)) if cache.length else cache.append(keys, values)
    assert torch.equal(keys, before[0])
    assert torch.equal(values, before[1])


def test_a_long_answer_moves_its_storage_seldom():
    cache, places = LayerCache(), set()
    cache.append(some(100), some(100))
    for _ in range(2000):
        keys, _ = cache.append(some(1), some(1))
        places.add(keys.data_ptr())
    assert len(places) <= 20


def test_a_bias_is_for_the_first_keys():
    cache = LayerCache()
    assert cache.full_bias is None
    cache.bias = torch.tensor([0.0, 2.0])
    cache.append(some(2), some(2))
    cache.append(some(3), some(3))
    assert cache.full_bias.tolist() == [0.0, 2.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtype_is_kept(dtype):
    cache = LayerCache()
    for _ in range(2):
        keys, values = cache.append(some(2).to(dtype), some(2).to(dtype))
    assert keys.dtype == values.dtype == dtype
    assert cache.byte_count == 2 * 2 * 4 * 3 * 2
