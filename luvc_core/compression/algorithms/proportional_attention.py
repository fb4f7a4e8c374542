"""Survivors that represent pruned tokens, so that attention to an image keeps its weight.

Softmax divides attention among all tokens there are: where most of an image leaves, text and
survivors gain its share, and what a head measures by shares, as in counting, comes out wrong. As in
proportional attention (ToMe, arXiv 2210.09461), log(count) added to the logits of one token makes
it weigh as much as `count` equal ones. Pruned tokens are seldom equal to the survivor that
represents them, but alike.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Similarities are computed for this many of the leaving tokens at once.
_ROWS = 2048


def absorb_pruned_counts(hidden: Tensor, kept: Tensor, counts: Tensor) -> Tensor:
    """Add the count of each pruned token to the kept one that is most like it.

    Likeness is the cosine of hidden states; among equals the earlier wins.

    Args:
        hidden: [tokens, dim].
        kept: int64 [kept], ascending, at least one.
        counts: float32 [tokens], how many tokens each one represents before.

    Returns:
        float32 [tokens], how many each one represents after; of pruned tokens as before.
    """
    # For each pruned token the greatest cosine is wanted: its own length makes no difference.
    targets = F.normalize(hidden[kept], dim=1).T
    counts = counts.clone()
    for rows in torch.split(_others(kept, len(hidden)), _ROWS):
        nearest = (hidden[rows] @ targets).argmax(dim=1)
        counts.index_add_(0, kept[nearest], counts[rows])
    return counts


def _others(kept: Tensor, length: int) -> Tensor:
    """List the indices below `length` that are not kept, ascending.

    Their number is known beforehand: a mask as an index would wait for the device.
    """
    stays = torch.zeros(length, dtype=torch.int8, device=kept.device).index_fill(0, kept, 1)
    return stays.argsort(stable=True)[: length - len(kept)]
