"""Which visual tokens the LLM sees: `kept_places` and `kept_counts` of a VisionTokens message."""

import itertools

import torch
from luvc.v1 import tokens_pb2
from torch import Tensor

from luvc_core.errors import InvalidInput
from luvc_core.visual_tokens.vision_tokens import VisionTokens


def write_selection(tokens: VisionTokens) -> tokens_pb2.VisionTokens:
    """Write which tokens the LLM sees: a message that holds nothing else."""
    return tokens_pb2.VisionTokens(
        kept_places=None if tokens.kept is None else tokens.kept.tolist(),
        kept_counts=None if tokens.kept_counts is None else tokens.kept_counts.tolist(),
    )


def read_selection(
    message: tokens_pb2.VisionTokens, field: str, token_count: int
) -> tuple[Tensor | None, Tensor | None]:
    """Read which tokens the LLM sees.

    Args:
        message: visual tokens, or a reference to them.
        field: the message's name in errors.
        token_count: how many tokens there are, whether the LLM sees them or not.

    Returns:
        `kept` and `kept_counts` of VisionTokens, int64 [kept]; None where they are not set.

    Raises:
        InvalidInput: unless the places are ascending places of these tokens, and the counts one
            for each of them, which sum to the token count.
    """
    return _read_kept(message, field, token_count), _read_counts(message, field, token_count)


def _read_kept(message: tokens_pb2.VisionTokens, field: str, token_count: int) -> Tensor | None:
    places = message.kept_places
    if not places:
        return None
    if places[-1] >= token_count or any(a >= b for a, b in itertools.pairwise(places)):
        allowed = f"strictly ascending, below {token_count}"
        raise InvalidInput(f"{field}.kept_places", "no places of these tokens", allowed)
    return torch.tensor(places)


def _read_counts(message: tokens_pb2.VisionTokens, field: str, token_count: int) -> Tensor | None:
    counts, field = message.kept_counts, f"{field}.kept_counts"
    if not counts:
        return None
    if len(counts) != len(message.kept_places):
        raise InvalidInput(field, f"{len(counts)} numbers", f"{len(message.kept_places)}, or none")
    if min(counts) < 1 or sum(counts) != token_count:
        allowed = f"each at least 1, {token_count} together"
        raise InvalidInput(field, f"{min(counts)} at least, {sum(counts)} together", allowed)
    return torch.tensor(counts)
