"""The cost of pruning a request, against what it saves."""

from itertools import pairwise

from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.prefill import layer_counts
from luvc_core.models.base import LanguageHalf, Prompt

# What pruning costs, as floating-point operations of the matrix products that would run in that
# time: for each image that is pruned before a layer, and for each number that is scored then. The
# similarities of leaving tokens to survivors are such a product themselves.
# Fitted to `python -m benchmarks.compute.pruning_break_even` on a CPU; right at every size there.
_FLOPS_PER_PRUNING = 100e6
_FLOPS_PER_NUMBER = 180.0


def pruning_pays_off(language: LanguageHalf, prompt: Prompt, spu: SpuSettings) -> bool:
    """Decide whether pruning saves more operations in the prefill than it costs itself.

    Depends on the request and the model's shape alone, not on the machine or its load: every
    replica decides alike. Savings are the tokens that leave times the weights of a layer; attention
    and decode steps, which pruning makes cheaper too, are not counted. A schedule that drops tokens
    before the first layer always pays: they need not travel.

    Args:
        language: the model.
        prompt: text and images, tokenised.
        spu: the schedule.

    Raises:
        InvalidSettings: for a schedule that is for another depth.
    """
    saved = cost = 0.0
    hidden_size = language.identity.hidden_size
    per_image = layer_counts(prompt.images, spu, language.layer_count)
    if spu.first_share < 1:
        return True
    for image, counts in zip(prompt.images, per_image, strict=True):
        saved += sum(image.token_count - count for count in counts) * language.row_flops
        for before, after in pairwise((image.token_count, *counts)):
            if after < before:
                # Nothing is scored where all leave; else the whole grid, pruned tokens included.
                scored = image.token_count if after else 0
                cost += _FLOPS_PER_PRUNING + _FLOPS_PER_NUMBER * scored * hidden_size
                if spu.proportional_attention:
                    compared = 2 * (before - after) * after
                    cost += compared * hidden_size
    return saved > cost
