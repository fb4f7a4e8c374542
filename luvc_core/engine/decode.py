"""One more token after those in the caches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from luvc_core.algorithms.ragged import LayerCache
from luvc_core.models.base import LanguageHalf


def decode_step(
    language: LanguageHalf, token: int, position: Tensor, caches: Sequence[LayerCache]
) -> Tensor:
    """Logits after `token`, float32 [vocabulary]. The caches grow by it.

    position: float32 [1, axes]. It counts on from the whole prompt, pruned tokens included.
    """
    hidden = language.embed(torch.tensor([token], device=language.device))
    rotary = language.rotary(position)
    for index, cache in enumerate(caches):
        hidden = language.layer(index, hidden, rotary, cache)
    return language.logits(hidden)[0]
