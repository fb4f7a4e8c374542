"""Language halves whose positions have one axis, visual tokens included: Qwen2 and Llama."""

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import LlamaModel, Qwen2Model

from luvc_core.chat import Message
from luvc_core.models.base import Prompt, runs_of
from luvc_core.models.text.chat_tokenizer import TEXT
from luvc_core.models.text.decoder import TextHalf
from luvc_core.visual_tokens.vision_tokens import VisionTokens


class Text1D(TextHalf):
    """A language half that counts all tokens along one axis."""

    positions = "1-D"
    text_models: ClassVar[dict[str, Any]] = {"qwen2": Qwen2Model, "llama": LlamaModel}

    def tokenize(self, messages: Sequence[Message[VisionTokens]]) -> Prompt:
        ids, segment, images = self._tokenizer.ids_of(messages)
        positions, next_position = _line_positions(segment, images)
        return Prompt(ids, segment, positions, next_position, images)


def _line_positions(segment: Tensor, images: Sequence[VisionTokens]) -> tuple[Tensor, float]:
    """Compute positions, float32 [length, 1], and the position after the last token."""
    parts: list[Tensor] = []
    start = 0
    runs = runs_of(segment)
    run_counts = Counter(image for image, _ in runs)
    source = {
        number: deque(_source_runs(tokens, run_counts[number]))
        for number, tokens in enumerate(images)
        if tokens.source_positions
    }
    for image, length in runs:
        offsets, extent = torch.arange(length).float(), length
        if image != TEXT and image in source:
            offsets, extent = source[image].popleft()
        parts.append(offsets + start)
        start += extent
    return torch.cat(parts).unsqueeze(1), float(start)


def _source_runs(tokens: VisionTokens, count: int) -> list[tuple[Tensor, int]]:
    """Split the source positions of an image or video into `count` runs of equal length.

    Returns for each run the positions of its tokens from its start, and how many positions it takes
    without merging.
    """
    extent = tokens.source_token_count // count
    parts = _source_positions(tokens).tensor_split(count)
    return [(part - index * extent, extent) for index, part in enumerate(parts)]


def _source_positions(tokens: VisionTokens) -> Tensor:
    """Compute the mean position of each token's source tokens in the unmerged sequence, [tokens].

    It does not always ascend: a token merged from two rows is half a row behind its neighbours.
    """
    parts: list[Tensor] = []
    start = 0
    for piece, positions in zip(
        tokens.pieces,
        torch.split(tokens.positions, [piece.token_count for piece in tokens.pieces]),
        strict=True,
    ):
        width = piece.source_grid.columns + (piece.separators == "row")
        strides = torch.tensor([piece.source_grid.rows * width, width, 1]).float()
        parts.append(positions @ strides + start)
        start += piece.source_token_count
    return torch.cat(parts)
