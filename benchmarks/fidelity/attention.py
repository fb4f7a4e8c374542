"""Queries, keys and other means that methods of others need of a language half.

The engine's contract does not give them. They are made again from the layer's own weights, so the
layers themselves run as in the product.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.models.base import LanguageHalf, Rotary
from luvc_core.models.text.decoder import TextHalf

LayerCall = Callable[[int, Tensor, Rotary, LayerCache], Tensor]


def projected(language: LanguageHalf, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return queries and keys of a layer before any rotation.

    Args:
        language: the half.
        layer: which one.
        hidden: [length, hidden], what enters the layer.

    Returns:
        Queries [length, heads, head size] and keys [length, key heads, head size].
    """
    assert isinstance(language, TextHalf)
    module = language._text.layers[layer]
    attention, x = module.self_attn, module.input_layernorm(hidden)
    size = attention.head_dim
    return attention.q_proj(x).unflatten(-1, (-1, size)), attention.k_proj(x).unflatten(
        -1, (-1, size)
    )


def rotated(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate queries or keys by their positions. x: [length, heads, head size]."""
    cos, sin = (table.squeeze(0).unsqueeze(1) for table in rotary)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def probabilities(query: Tensor, keys: Tensor) -> Tensor:
    """Return the attention of one query, mean over heads: float32 [length].

    Args:
        query: [heads, head size].
        keys: [length, key heads, head size], each shared by a group of heads.
    """
    keys = keys.repeat_interleave(query.shape[0] // keys.shape[1], dim=1)
    logits = torch.einsum("hd,lhd->hl", query, keys).float() / math.sqrt(query.shape[1])
    return logits.softmax(dim=1).mean(dim=0)


def last_query_attention(
    language: LanguageHalf, layer: int, hidden: Tensor, rotary: Rotary
) -> Tensor:
    """Return what the last token of the prompt attends to, mean over heads: float32 [length].

    Args:
        language: the half.
        layer: which one.
        hidden: [length, hidden], what enters the layer.
        rotary: of all its rows.
    """
    queries, keys = projected(language, layer, hidden)
    last = rotated(queries[-1:], (rotary[0][:, -1:], rotary[1][:, -1:]))
    return probabilities(last[0], rotated(keys, rotary))


def biased_layer(
    language: LanguageHalf, index: int, hidden: Tensor, rotary: Rotary, cache: LayerCache,
    bias: Tensor,
) -> Tensor:  # fmt: skip
    """Run a layer as LanguageHalf.layer does, with a bias on the attention logits.

    Args:
        language: the half.
        index: of the layer.
        hidden: [new, hidden], what enters the layer.
        rotary: of the new rows.
        cache: of the layer, which grows.
        bias: [keys in the prompt].
    """
    assert isinstance(language, TextHalf)
    new, length = hidden.shape[0], cache.length + hidden.shape[0]
    hidden_keys = torch.ones(new, length, dtype=torch.bool, device=hidden.device).triu(
        cache.length + 1
    )
    mask = F.pad(bias, (0, length - len(bias))).to(hidden.dtype).expand(new, -1)
    mask = mask.masked_fill(hidden_keys, -math.inf)
    return language.stock_layer(index, hidden, rotary, cache, mask[None, None])


@contextmanager
def layers_by(language: LanguageHalf, layer: LayerCall) -> Iterator[None]:
    """Let this half run its layers by `layer` within the block. Not for several threads.

    Args:
        language: the half.
        layer: called as LanguageHalf.layer is; may call what was there before.
    """
    before = language.__dict__.get("layer")
    language.__dict__["layer"] = layer
    try:
        yield
    finally:
        if before is None:
            del language.__dict__["layer"]
        else:
            language.__dict__["layer"] = before


class LayerInput:
    """What entered the layer that ran last.

    Attributes:
        hidden: [length, hidden].
        rotary: of its rows.
    """

    hidden: Tensor
    rotary: Rotary


@contextmanager
def watched(language: LanguageHalf, layer_input: LayerInput) -> Iterator[None]:
    """Keep `layer_input` up to date within the block."""
    plain = language.layer

    def layer(index: int, hidden: Tensor, rotary: Rotary, cache: LayerCache) -> Tensor:
        layer_input.hidden, layer_input.rotary = hidden, rotary
        return plain(index, hidden, rotary, cache)

    with layers_by(language, layer):
        yield


@contextmanager
def renumbered(language: LanguageHalf, first: int) -> Iterator[None]:
    """Let later layers count their rows from 0 within the block, instead of by original positions.

    They count along the sequence, the same on all axes of M-RoPE.

    Args:
        language: the half.
        first: the layer from which on they do.
    """
    plain = language.layer
    axes = 3 if language.positions == "M-RoPE" else 1

    def layer(index: int, hidden: Tensor, rotary: Rotary, cache: LayerCache) -> Tensor:
        if index >= first:
            rotary = language.rotary(line_positions(cache.length, len(hidden), axes))
        return plain(index, hidden, rotary, cache)

    with layers_by(language, layer):
        yield


def line_positions(start: int, count: int, axes: int) -> Tensor:
    """Return positions along a line: float32 [count, axes].

    Args:
        start: the first position.
        count: how many.
        axes: that all have the same.
    """
    line = torch.arange(start, start + count, dtype=torch.float32)
    return line.unsqueeze(1).expand(-1, axes)
