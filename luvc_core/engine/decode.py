"""One more token of each of several requests, after those in their caches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from luvc_core.algorithms.ragged import LayerCache
from luvc_core.models.base import LanguageHalf

_EXACT_ROWS = {torch.float32: 4, torch.bfloat16: 2}


def row_multiple(device: torch.device, dtype: torch.dtype) -> int:
    """What the rows of a step are padded to a multiple of, so that nobody's last bits depend on
    how many requests share the step.

    On CPUs a float32 product of one row is summed in another order than one of four; from four on,
    by fours, every row comes out the same, with any number of threads. In bfloat16 from two on, by
    twos: one row alone goes another way with wide matrices only. On CUDA nothing is known yet.
    """
    return _EXACT_ROWS.get(dtype, 1) if device.type == "cpu" else 1


def decode_step(
    language: LanguageHalf,
    tokens: Sequence[int],
    positions: Tensor,
    caches: Sequence[Sequence[LayerCache]],
    multiple: int = 1,
) -> Tensor:
    """Logits after each of `tokens`, float32 [requests, vocabulary]. The caches grow by them.

    positions: float32 [requests, axes]. They count on from the whole prompts, pruned tokens
    included. caches: for each request one a layer. multiple: as row_multiple says.
    """
    padding = -len(tokens) % multiple
    ids = torch.tensor([*tokens, *[tokens[0]] * padding], device=language.device)
    hidden = language.embed(ids)
    rotary = language.rotary(torch.cat((positions, positions[:1].expand(padding, -1))))
    for index, of_layer in enumerate(zip(*caches, strict=True)):
        hidden = language.decode_layer(index, hidden, rotary, of_layer)
    return language.logits(hidden)[: len(tokens)]
