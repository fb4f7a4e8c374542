"""Attention of a prompt, and of one new token of each of several requests.

Keys may have a bias on their logits. Flash kernels take none, so it is put into additional columns:
queries have ones there, keys the bias, values zeros.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from luvc_core.kv_cache.layer_cache import LayerCache

# The name by which layers of transformers find `_attend_prompt`.
PROMPT_ATTENTION = "luvc"
# Two are used; kernels want head sizes that are multiples of eight.
_BIAS_COLUMNS = 8


def with_bias(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Add columns that add a bias to the scaled logits of each key.

    Args:
        queries: [..., rows, head size].
        keys: [..., rows, head size].
        values: [..., rows, head size]; the result of attention is zero in the added columns.
        bias: float32 [..., rows of keys], broadcast over the dimensions before.
        scale: of the logits.

    Returns:
        Queries, keys and values, each wider by the same number of columns.
    """
    padding = (0, _BIAS_COLUMNS)
    queries, keys, values = (
        F.pad(queries, padding, value=1.0),
        F.pad(keys, padding),
        F.pad(values, padding),
    )
    # In two parts, because bfloat16 keeps only eight bits of it.
    whole = bias / scale
    coarse = whole.to(keys.dtype)
    keys[..., -_BIAS_COLUMNS] = coarse
    keys[..., 1 - _BIAS_COLUMNS] = (whole - coarse.float()).to(keys.dtype)
    return queries, keys, values


def _attend_prompt(
    module: Any,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    key_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' own SDPA does, with a bias on the keys where there is one."""
    size = values.shape[-1]
    if key_bias is not None:
        queries, keys, values = with_bias(queries, keys, values, key_bias, scaling)
    attended, _ = sdpa_attention_forward(
        module, queries, keys, values, attention_mask, scaling=scaling, **options
    )
    return attended[..., :size], None


ALL_ATTENTION_FUNCTIONS.register(PROMPT_ATTENTION, _attend_prompt)


def rotate(heads: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate [rows, heads, head size] by (cos, sin), each [1, rows, head size]."""
    cos, sin = (table[0].unsqueeze(1) for table in rotary)
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin


def attend_each(
    queries: Tensor, keys: Tensor, values: Tensor, caches: Sequence[LayerCache], scale: float
) -> Tensor:
    """Attend with one new token of each of several requests, each to its own cache.

    Every cache grows by one row. No row's result depends on another row, not even in its last bit:
    nothing is padded to a common length.

    Args:
        queries: [rows, heads, head size].
        keys: [rows, key heads, head size]; a key head serves neighbouring heads of the queries.
        values: as `keys`.
        caches: one per request; there may be fewer than rows.
        scale: of the logits.

    Returns:
        [rows, heads * head size]; rows past the last cache are zero.
    """
    out = torch.zeros_like(queries)
    if queries.is_cuda and queries.dtype in (torch.float16, torch.bfloat16):
        cached = [
            cache.append(*new) for *new, cache in zip(*_as_rows(keys, values), caches, strict=False)
        ]
        biases = [cache.full_bias for cache in caches]
        out[: len(caches)] = _attend_packed(queries[: len(caches)], cached, biases, scale)
        return out.flatten(1)
    groups = queries.view(len(queries), keys.shape[1], -1, queries.shape[2])
    # With one query per key head the CPU's kernel is slow in bfloat16: 2 to 4 times slower than in
    # float32, conversion of all keys and values included.
    ungrouped = groups.shape[2] == 1 and queries.dtype == torch.bfloat16
    dtype = torch.float32 if ungrouped else queries.dtype
    rows = zip(torch.split(groups.to(dtype), 1), *_as_rows(keys, values), caches, strict=False)
    for row, (group, new_keys, new_values, cache) in enumerate(rows):
        all_keys, all_values = cache.append(new_keys, new_values)
        # Query heads that share a key head are passed as its queries, so that no key is repeated.
        bias = cache.full_bias
        attended = F.scaled_dot_product_attention(
            group,
            all_keys.to(dtype),
            all_values.to(dtype),
            attn_mask=None if bias is None else bias.to(dtype)[None, None, None],
            scale=scale,
        )
        out[row] = attended.view(out.shape[1:])
    return out.flatten(1)


def _as_rows(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Split each tensor by requests, to what a cache takes: [1, heads, 1, head size]."""
    return [torch.split(tensor.unsqueeze(2), 1) for tensor in tensors]


def _attend_packed(
    queries: Tensor,
    cached: Sequence[tuple[Tensor, Tensor]],
    biases: Sequence[Tensor | None],
    scale: float,
) -> Tensor:
    """Attend with one call of FlashAttention for all requests: [rows, heads, head size].

    It reads keys and values packed without gaps, which costs a copy of them. Not measured yet.
    """
    queries, keys, values = join_caches(queries, cached, biases, scale)
    lengths = [pair[0].shape[2] for pair in cached]
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    rows = torch.arange(len(cached) + 1, dtype=torch.int32, device=queries.device)
    attended = varlen_attn(
        queries, keys, values, rows, ends.to(queries.device), 1, max(lengths),
        scale=scale, enable_gqa=True,
        # Splitting by the longest request would let requests change each other's last bits.
        num_splits=1,
    )  # fmt: skip
    assert isinstance(attended, Tensor)
    return attended[..., : cached[0][1].shape[3]]


def join_caches(
    queries: Tensor,
    cached: Sequence[tuple[Tensor, Tensor]],
    biases: Sequence[Tensor | None],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Join the keys and values of all requests, for one call of attention.

    Args:
        queries: [rows, heads, head size].
        cached: keys and values of each request, [1, key heads, tokens, head size].
        biases: on the keys of each request, or None.
        scale: of the logits.

    Returns:
        Queries, keys and values, the latter [all tokens, key heads, head size], all wider where any
        request has a bias.
    """
    keys, values = (torch.cat([pair[i][0].transpose(0, 1) for pair in cached]) for i in range(2))
    if all(bias is None for bias in biases):
        return queries, keys, values
    joined_bias = torch.cat(
        [
            keys.new_zeros(pair[0].shape[2], dtype=torch.float32) if bias is None else bias
            for pair, bias in zip(cached, biases, strict=True)
        ]
    )
    return with_bias(queries, keys, values, joined_bias[:, None], scale)
