"""Count floating-point operations of the LLM's prefill from the tokens that enter each layer."""

from collections.abc import Sequence

from benchmarks.fidelity.question import Question
from luvc_core.engine.requests import Result
from luvc_core.models.text.decoder import TextHalf


def prefill_flops(question: Question, result: Result) -> float:
    """Return the operations of all layers' matrix products, attention counted causally.

    The head is left out, which computes one token's logits whatever is pruned.
    """
    language = question.language
    assert isinstance(language, TextHalf)
    config = language._text.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    queries, keys = config.num_attention_heads * size, config.num_key_value_heads * size
    weights = config.hidden_size * (2 * queries + 2 * keys + 3 * config.intermediate_size)
    lengths = [result.prompt_token_count + n for n in result.layer_visual_token_counts]
    return layer_flops(lengths, weights, queries)


def layer_flops(lengths: Sequence[int], weights: int, queries: int) -> float:
    """Return the operations of layers.

    Args:
        lengths: tokens that enter each layer.
        weights: of one layer.
        queries: heads times head size.
    """
    return float(sum(2 * n * weights + 2 * n * (n + 1) * queries for n in lengths))
