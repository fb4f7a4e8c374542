"""Decode steps: the next token of each of several answers, computed in one batch."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.models.base import LanguageHalf

# On CPUs a float32 product sums a single row in another order than several rows, so that its last
# bits differ. With a multiple of four rows each row comes out the same, whatever the number of rows
# and threads. In bfloat16 two rows are enough, but four take less time than one. CUDA has not been
# measured yet.
_EXACT_ROWS = 4


class Decoding(Protocol):
    """An answer after its prefill; a Generation is one."""

    language: LanguageHalf

    @property
    def last_token(self) -> int:
        """The token of the answer that was sampled last."""
        ...

    @property
    def next_position(self) -> Tensor:
        """float32 [axes]: the rotary position of that token."""
        ...

    @property
    def caches(self) -> Sequence[LayerCache]:
        """Keys and values of all tokens before it, one a layer."""
        ...


@torch.inference_mode()
def decode_generations(generations: Sequence[Decoding]) -> Tensor:
    """Compute logits for the next token of each answer: float32 [generations, vocabulary].

    The caches grow by one token. What one answer gets does not depend on the others: see
    `row_count`, and `attend_each` of the models.

    Args:
        generations: at least one, all of one language half and after their prefill.
    """
    return decode_step(
        generations[0].language,
        [generation.last_token for generation in generations],
        torch.stack([generation.next_position for generation in generations]),
        [generation.caches for generation in generations],
    )


def decode_step(
    language: LanguageHalf,
    tokens: Sequence[int],
    positions: Tensor,
    caches: Sequence[Sequence[LayerCache]],
) -> Tensor:
    """Compute the logits after one token of each request: float32 [requests, vocabulary].

    Args:
        language: the model.
        tokens: [requests], the last token of each answer.
        positions: float32 [requests, axes]. They count on from the whole prompts, pruned tokens
            included.
        caches: for each request one a layer; they grow by the token.
    """
    padding = row_count(len(tokens), language.device, language.dtype) - len(tokens)
    ids = torch.tensor([*tokens, *[tokens[0]] * padding], device=language.device)
    hidden = language.embed(ids)
    rotary = language.rotary(torch.cat((positions, positions[:1].expand(padding, -1))))
    for index, layer_caches in enumerate(zip(*caches, strict=True)):
        hidden = language.decode_layer(index, hidden, rotary, layer_caches)
    return language.logits(hidden)[: len(tokens)]


def row_count(requests: int, device: torch.device, dtype: torch.dtype) -> int:
    """Choose how many rows a step has, so that the last bits of no answer depend on the others.

    Args:
        requests: how many rows are needed.
        device: of the model.
        dtype: of the model.
    """
    if device.type != "cpu":
        return requests
    if dtype == torch.float32:
        return math.ceil(requests / _EXACT_ROWS) * _EXACT_ROWS
    return max(requests, _EXACT_ROWS)
