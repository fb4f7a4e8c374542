"""One more token of each of several requests, after those in their caches."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.models.base import LanguageHalf

_EXACT_ROWS = 4


def row_count(requests: int, device: torch.device, dtype: torch.dtype) -> int:
    """How many rows a step has, so that nobody's last bits depend on how many share it.

    On CPUs a float32 product of one row is summed in another order than one of four; from four on,
    by fours, every row comes out the same, with any number of threads. In bfloat16 from two on; but
    four rows take less time than one. On CUDA nothing is known yet.
    """
    if device.type != "cpu":
        return requests
    if dtype == torch.float32:
        return math.ceil(requests / _EXACT_ROWS) * _EXACT_ROWS
    return max(requests, _EXACT_ROWS)


def decode_step(
    language: LanguageHalf,
    tokens: Sequence[int],
    positions: Tensor,
    caches: Sequence[Sequence[LayerCache]],
) -> Tensor:
    """Logits after each of `tokens`, float32 [requests, vocabulary]. The caches grow by them.

    positions: float32 [requests, axes]. They count on from the whole prompts, pruned tokens
    included. caches: for each request one a layer.
    """
    padding = row_count(len(tokens), language.device, language.dtype) - len(tokens)
    ids = torch.tensor([*tokens, *[tokens[0]] * padding], device=language.device)
    hidden = language.embed(ids)
    rotary = language.rotary(torch.cat((positions, positions[:1].expand(padding, -1))))
    for index, of_layer in enumerate(zip(*caches, strict=True)):
        hidden = language.decode_layer(index, hidden, rotary, of_layer)
    return language.logits(hidden)[: len(tokens)]
