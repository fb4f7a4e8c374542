"""The visual tokens that the LLM sees: `kept_places` and `kept_counts` of VisionTokens."""

import torch
from luvc.v1 import tokens_pb2

from luvc_core.errors import InvalidInput
from luvc_core.visual_tokens.selection import InvalidSelection, TokenSelection


def write_selection(selection: TokenSelection | None) -> tokens_pb2.VisionTokens:
    """Write which tokens the LLM sees: a message that holds nothing else."""
    message = tokens_pb2.VisionTokens()
    if selection is not None:
        message.kept_places.extend(selection.indices.tolist())
        if selection.counts is not None:
            message.kept_counts.extend(selection.counts.tolist())
    return message


def read_selection(
    message: tokens_pb2.VisionTokens, field: str, token_count: int
) -> TokenSelection | None:
    """Read which tokens the LLM sees; None for all of them.

    Args:
        message: visual tokens, or a reference to them.
        field: the message's name in errors.
        token_count: how many tokens there are, selected or not.

    Raises:
        InvalidInput: for indices or counts that do not fit the tokens.
    """
    if not message.kept_places and not message.kept_counts:
        return None
    indices = torch.tensor(message.kept_places, dtype=torch.int64)
    counts = torch.tensor(message.kept_counts, dtype=torch.int64)
    selection = TokenSelection(indices, counts if len(counts) else None)
    try:
        selection.check(token_count)
    except InvalidSelection as error:
        name = "kept_places" if error.part == "indices" else "kept_counts"
        raise InvalidInput(f"{field}.{name}", error.problem, error.allowed) from None
    return selection
