"""Attention of a prompt, and of one new token of each of several requests, to own keys and values.

Keys may have a bias on their logits. Flash kernels take none, so it travels in columns of its own:
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

# As layers of transformers know `_attend_prompt`.
PROMPT_ATTENTION = "luvc"
# Two are in use; kernels want head sizes that are multiples of eight.
_BIAS_COLUMNS = 8


def with_bias(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same, wider by columns that add `bias` to the logits, after scaling, of each key.

    queries, keys, values: [..., rows, head size]. bias: float32, as many as there are keys,
    broadcast over what is before. What comes out in the columns is zero.
    """
    room = (0, _BIAS_COLUMNS)
    queries, keys, values = F.pad(queries, room, value=1.0), F.pad(keys, room), F.pad(values, room)
    # In two parts, as bfloat16 has but eight bits of it.
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
    """As transformers' own SDPA, with a bias on the keys where there is one."""
    size = values.shape[-1]
    if key_bias is not None:
        queries, keys, values = with_bias(queries, keys, values, key_bias, scaling)
    attended, _ = sdpa_attention_forward(
        module, queries, keys, values, attention_mask, scaling=scaling, **options
    )
    return attended[..., :size], None


ALL_ATTENTION_FUNCTIONS.register(PROMPT_ATTENTION, _attend_prompt)


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
        own = [
            cache.append(*new) for *new, cache in zip(*_as_rows(keys, values), caches, strict=False)
        ]
        biases = [cache.full_bias for cache in caches]
        out[: len(caches)] = _attend_packed(queries[: len(caches)], own, biases, scale)
        return out.flatten(1)
    groups = queries.view(len(queries), keys.shape[1], -1, queries.shape[2])
    # One query to a key head is what the CPU's kernel does slowly in bfloat16: 2 to 4 times slower
    # than in float32, conversion of all keys and values included.
    alone = groups.shape[2] == 1 and queries.dtype == torch.bfloat16
    dtype = torch.float32 if alone else queries.dtype
    rows = zip(torch.split(groups.to(dtype), 1), *_as_rows(keys, values), caches, strict=False)
    for row, (own, new_keys, new_values, cache) in enumerate(rows):
        own_keys, own_values = cache.append(new_keys, new_values)
        # The query heads that share a key head are so many queries of it: nothing is repeated.
        bias = cache.full_bias
        attended = F.scaled_dot_product_attention(
            own,
            own_keys.to(dtype),
            own_values.to(dtype),
            attn_mask=None if bias is None else bias.to(dtype)[None, None, None],
            scale=scale,
        )
        out[row] = attended.view(out.shape[1:])
    return out.flatten(1)


def _as_rows(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Of each, what a cache takes of one request, [1, heads, 1, head size]."""
    return [torch.split(tensor.unsqueeze(2), 1) for tensor in tensors]


def _attend_packed(
    queries: Tensor,
    own: Sequence[tuple[Tensor, Tensor]],
    biases: Sequence[Tensor | None],
    scale: float,
) -> Tensor:
    """One call of FlashAttention for all requests, [rows, heads, head size]. Not measured yet.

    It reads keys and values packed without gaps, which costs a copy of them.
    """
    queries, keys, values = packed(queries, own, biases, scale)
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
    return attended[..., : own[0][1].shape[3]]


def packed(
    queries: Tensor,
    own: Sequence[tuple[Tensor, Tensor]],
    biases: Sequence[Tensor | None],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """All keys and all values in one line each, [tokens, heads, head size], and the queries, wider
    where any request has a bias on its keys."""
    keys, values = (torch.cat([pair[i][0].transpose(0, 1) for pair in own]) for i in range(2))
    if all(bias is None for bias in biases):
        return queries, keys, values
    line = torch.cat(
        [
            keys.new_zeros(pair[0].shape[2], dtype=torch.float32) if bias is None else bias
            for pair, bias in zip(own, biases, strict=True)
        ]
    )
    return with_bias(queries, keys, values, line[:, None], scale)
