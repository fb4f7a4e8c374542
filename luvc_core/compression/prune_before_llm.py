"""Selects the visual tokens that enter the first layer of the LLM; the others need not travel.

Before that layer the question has not touched the visual tokens, so the encoder can select them as
well as the decoder.
"""

from dataclasses import replace

import torch

from luvc_core.compression.algorithms import schedules
from luvc_core.compression.algorithms.frequency_scores import top_indices
from luvc_core.compression.algorithms.proportional_attention import absorb_pruned_counts
from luvc_core.compression.scoring import image_scores
from luvc_core.compression.settings import SpuSettings
from luvc_core.errors import InvalidInput
from luvc_core.visual_tokens.selection import TokenSelection
from luvc_core.visual_tokens.vision_tokens import VisionTokens


@torch.inference_mode()
def prune_before_llm(tokens: VisionTokens, spu: SpuSettings | None) -> VisionTokens:
    """Select the tokens that enter the first layer, and count how many each one represents there.

    Returns `tokens` itself where all of them enter, or none.
    """
    count = tokens.token_count
    if spu is not None:
        count = schedules.token_counts([spu.first_share], tokens.token_count)[0]
    if spu is None or not 0 < count < tokens.token_count:
        return tokens
    everything = torch.arange(tokens.token_count, device=tokens.embeddings.device)
    scores = image_scores(tokens.embeddings, everything, tokens.pieces, spu)
    kept = top_indices(scores, count)
    if not spu.proportional_attention:
        return replace(tokens, selection=TokenSelection(kept))
    ones = torch.ones(len(everything), device=kept.device)
    counts = absorb_pruned_counts(tokens.embeddings, kept, ones)[kept].long()
    return replace(tokens, selection=TokenSelection(kept, counts))


def check_selection(tokens: VisionTokens, first_layer_count: int, field: str) -> None:
    """Raise InvalidInput unless as many tokens arrived as enter the first layer.

    Args:
        tokens: of one image, all of them or a selection.
        first_layer_count: how many enter the first layer.
        field: what the error calls the selection.
    """
    if tokens.selection is not None and len(tokens.selection) != first_layer_count:
        raise InvalidInput(
            field, f"holds {len(tokens.selection)} visual tokens",
            f"{first_layer_count}, as the schedule says of the first layer",
        )  # fmt: skip
