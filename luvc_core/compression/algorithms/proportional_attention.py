"""Survivors as proxies of what was pruned, so that attention to a picture keeps its weight.

Softmax divides by all that there is to look at: where most of a picture leaves, text and survivors
gain its share of attention, whoever asks, and what a head measures by shares, as in counting, comes
out wrong. As in proportional attention (ToMe, arXiv 2210.09461), log(count) on the logits of one
token makes it weigh as much as `count` equal ones. The tokens that leave here are seldom equal to
their proxy, but alike.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Similarities are computed for so many of the leaving tokens at once.
_ROWS = 2048


def absorb_pruned_counts(hidden: Tensor, kept: Tensor, counts: Tensor) -> Tensor:
    """float32 [tokens]: `counts`, where each token that is not kept has added its own to that of
    the kept one to which its hidden state is most alike (cosine; among equals the earlier).

    hidden: [tokens, dim]. kept: int64, ascending, at least one. counts: float32 [tokens], how many
    tokens each stands for before. Those of tokens that are not kept stay as they were.
    """
    # Of one token's cosines the greatest is wanted: its own length makes no difference.
    targets = F.normalize(hidden[kept], dim=1).T
    counts = counts.clone()
    for rows in torch.split(_others(kept, len(hidden)), _ROWS):
        nearest = (hidden[rows] @ targets).argmax(dim=1)
        counts.index_add_(0, kept[nearest], counts[rows])
    return counts


def _others(kept: Tensor, length: int) -> Tensor:
    """The places below `length` that are not kept, ascending. As many as known beforehand: a mask
    as an index would wait for the device."""
    stays = torch.zeros(length, dtype=torch.int8, device=kept.device).index_fill(0, kept, 1)
    return stays.argsort(stable=True)[: length - len(kept)]
