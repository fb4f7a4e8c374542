"""Tokens that stand for others in attention."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from luvc_core.compression.algorithms.proportional_attention import absorb_pruned_counts
from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.models.text.attention import attend_each, join_caches, with_bias

SCALE = 0.25


@given(st.integers(1, 40), st.data())
def test_nobody_is_lost_and_each_goes_to_the_most_alike(length: int, data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 9)))
    kept = torch.tensor(sorted(data.draw(st.sets(st.integers(0, length - 1), min_size=1))))
    hidden, before = torch.randn(length, 5), torch.randint(1, 9, (length,)).float()
    counts = absorb_pruned_counts(hidden, kept, before)
    assert counts[kept].sum() == before.sum()
    expected = before.clone()
    for leaves in sorted(set(range(length)) - set(kept.tolist())):
        alike = torch.cosine_similarity(hidden[leaves], hidden[kept])
        expected[kept[alike.argmax()]] += before[leaves]
    assert torch.equal(counts, expected)


def test_many_tokens_are_compared_in_parts() -> None:
    hidden = torch.eye(3).repeat(2000, 1)
    assert (
        absorb_pruned_counts(hidden, torch.arange(3), torch.ones(6000))[:3].tolist() == [2000.0] * 3
    )


def test_of_equals_one_weighs_as_much_as_all() -> None:
    """What it is for: nothing changes where tokens leave that equal their proxy."""
    torch.manual_seed(0)
    queries, keys, values = (
        torch.randn(1, 4, 1, 16),
        torch.randn(1, 2, 9, 16),
        torch.randn(1, 2, 9, 16),
    )
    bias = torch.tensor([3.0, *[1.0] * 8]).log()
    thrice = torch.tensor([0, 0, 0, *range(1, 9)])
    expected = F.scaled_dot_product_attention(
        queries, keys[:, :, thrice], values[:, :, thrice], scale=SCALE, enable_gqa=True
    )
    wide = with_bias(queries, keys, values, bias, SCALE)
    found = F.scaled_dot_product_attention(*wide, scale=SCALE, enable_gqa=True)
    torch.testing.assert_close(found[..., :16], expected)
    assert not found[..., 16:].any()


def test_a_bias_is_as_exact_in_bfloat16_as_a_logit() -> None:
    keys = torch.zeros(1, 1, 500, 8, dtype=torch.bfloat16)
    bias = torch.arange(1, 501).float().log()
    queries, keys, _ = with_bias(keys[:, :, :1], keys, keys, bias, SCALE)
    logits = (queries.float() @ keys.float().transpose(2, 3) * SCALE).flatten()
    torch.testing.assert_close(logits, bias, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("biased", [(True, True), (True, False), (False, False)])
def test_packed_for_flash_attention_is_one_by_one(biased: tuple[bool, bool]) -> None:
    torch.manual_seed(0)
    caches = []
    for length, has_bias in zip((5, 3), biased, strict=True):
        cache = LayerCache()
        cache.bias = torch.rand(length) if has_bias else None
        cache.append(torch.randn(1, 2, length, 16), torch.randn(1, 2, length, 16))
        caches.append(cache)
    queries, new_keys, new_values = (
        torch.randn(2, 4, 16),
        torch.randn(2, 2, 16),
        torch.randn(2, 2, 16),
    )
    alone = attend_each(queries, new_keys, new_values, caches, SCALE)
    own = [(cache.keys, cache.values) for cache in caches]
    wide, keys, values = join_caches(queries, own, [cache.full_bias for cache in caches], SCALE)
    assert wide.shape[-1] == keys.shape[-1] == values.shape[-1] == (24 if any(biased) else 16)
    start = 0
    for row, cache in enumerate(caches):
        line = slice(start, start + cache.length)
        found = F.scaled_dot_product_attention(
            wide[row, None, :, None], keys[line].transpose(0, 1)[None],
            values[line].transpose(0, 1)[None], scale=SCALE, enable_gqa=True,
        )  # fmt: skip
        torch.testing.assert_close(found[..., :16].flatten(), alone[row])
        start += cache.length
