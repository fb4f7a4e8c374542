"""Attention of one new token of each of several requests, each to its own keys and values."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn

from luvc_core.algorithms.ragged import LayerCache


def rotate(heads: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """[rows, heads, head size], turned by (cos, sin), each [1, rows, head size]."""
    cos, sin = (table[0].unsqueeze(1) for table in rotary)
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin


def attend_each(
    queries: Tensor, keys: Tensor, values: Tensor, caches: Sequence[LayerCache], scale: float
) -> Tensor:
    """[rows, heads * head size]; rows past the last cache are zero.

    queries, keys, values: [rows, heads, head size], those of keys and values perhaps fewer heads,
    each for as many neighbouring heads of the queries. The caches grow by a row each. No row's
    result depends on another's, not in the last bit: nothing is padded to a common length.
    """
    out = torch.zeros_like(queries)
    if queries.is_cuda and queries.dtype in (torch.float16, torch.bfloat16):
        own = [_append(keys, values, row, cache) for row, cache in enumerate(caches)]
        out[: len(caches)] = _attend_packed(queries[: len(caches)], own, scale)
        return out.flatten(1)
    groups = queries.view(len(queries), keys.shape[1], -1, queries.shape[2])
    for row, cache in enumerate(caches):
        own_keys, own_values = _append(keys, values, row, cache)
        # The query heads that share a key head are so many queries of it: nothing is repeated.
        attended = F.scaled_dot_product_attention(
            groups[row : row + 1], own_keys, own_values, scale=scale
        )
        out[row] = attended.view(out.shape[1:])
    return out.flatten(1)


def _append(keys: Tensor, values: Tensor, row: int, cache: LayerCache) -> tuple[Tensor, Tensor]:
    """All keys and values of one request, [1, heads, length, head size]."""
    return cache.append(keys[row][None, :, None], values[row][None, :, None])


def _attend_packed(queries: Tensor, own: Sequence[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """One call of FlashAttention for all requests, [rows, heads, head size]. Not measured yet.

    It reads keys and values packed without gaps, which costs a copy of them.
    """
    keys, values = (torch.cat([pair[i][0].transpose(0, 1) for pair in own]) for i in range(2))
    lengths = [pair[0].shape[2] for pair in own]
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    rows = torch.arange(len(own) + 1, dtype=torch.int32, device=queries.device)
    attended = varlen_attn(
        queries, keys, values, rows, ends.to(queries.device), 1, max(lengths),
        scale=scale, enable_gqa=True,
        # Splitting by the longest would let requests change each other's last bits.
        num_splits=1,
    )  # fmt: skip
    assert isinstance(attended, Tensor)
    return attended
