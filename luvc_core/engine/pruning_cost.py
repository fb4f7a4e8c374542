"""Whether pruning a request is worth its own cost."""

from itertools import pairwise

from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.prefill import layer_counts
from luvc_core.models.base import LanguageHalf, Prompt

# What pruning takes, as floating-point operations of the matrix products that would run in that
# time: for each picture that shrinks before a layer, and for each number that is scored then. The
# similarities of those that leave to those that stay are such a product themselves.
# Fitted to `python -m benchmarks.compute.pruning_break_even` on a CPU; right at every size there.
_PER_PRUNING = 100e6
_PER_NUMBER = 180.0


def pruning_pays_off(language: LanguageHalf, prompt: Prompt, spu: SpuSettings) -> bool:
    """Whether what pruning saves in the prefill is more than what it takes itself.

    A rule of the request and the model's shape alone, not of the machine or its load: the same
    request is pruned, or not, by every replica. It counts what leaves times the weights of a layer,
    and neither attention nor the steps after the prefill, which pruning makes cheaper too. A
    schedule that drops tokens before the first layer pays always: they need not travel.

    Raises InvalidSettings for a schedule that is for another depth.
    """
    saved = taken = 0.0
    per_image = layer_counts(prompt.images, spu, language.layer_count)
    if spu.first_share < 1:
        return True
    for image, counts in zip(prompt.images, per_image, strict=True):
        saved += sum(image.token_count - count for count in counts) * language.row_flops
        for before, after in pairwise((image.token_count, *counts)):
            if after < before:
                # Where all leave nothing is scored; else the holes of those gone count, too.
                scored = image.token_count if after else 0
                taken += _PER_PRUNING + _PER_NUMBER * scored * language.identity.hidden_size
                if spu.proportional_attention:
                    compared = 2 * (before - after) * after
                    taken += compared * language.identity.hidden_size
    return saved > taken
