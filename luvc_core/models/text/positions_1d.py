"""Language halves that count all tokens along one line, visual ones too: Qwen2 and Llama."""

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
    positions = "1-D"
    text_models: ClassVar[dict[str, Any]] = {"qwen2": Qwen2Model, "llama": LlamaModel}

    def tokenize(self, messages: Sequence[Message[VisionTokens]]) -> Prompt:
        ids, segment, images = self._tokenizer.ids_of(messages)
        positions, next_position = _line_positions(segment, images)
        return Prompt(ids, segment, positions, next_position, images)


def _line_positions(segment: Tensor, images: Sequence[VisionTokens]) -> tuple[Tensor, float]:
    """float32 [length, 1], and the position after the last."""
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
        places, room = torch.arange(length).float(), length
        if image != TEXT and image in source:
            places, room = source[image].popleft()
        parts.append(places + start)
        start += room
    return torch.cat(parts).unsqueeze(1), float(start)


def _source_runs(tokens: VisionTokens, count: int) -> list[tuple[Tensor, int]]:
    """For each of `count` runs of equal length: the places of its tokens from the run's start, and
    the room that they took unmerged."""
    room = tokens.source_token_count // count
    parts = _source_places(tokens).tensor_split(count)
    return [(part - index * room, room) for index, part in enumerate(parts)]


def _source_places(tokens: VisionTokens) -> Tensor:
    """float32 [tokens]: the mean place of each one's source tokens in the unmerged sequence.

    Not always ascending: a token merged from two rows lies half a row behind its neighbours.
    """
    parts: list[Tensor] = []
    start = 0
    for piece, own in zip(
        tokens.pieces,
        torch.split(tokens.positions, [piece.token_count for piece in tokens.pieces]),
        strict=True,
    ):
        width = piece.source_grid.columns + (piece.separators == "row")
        strides = torch.tensor([piece.source_grid.rows * width, width, 1]).float()
        parts.append(own @ strides + start)
        start += piece.source_token_count
    return torch.cat(parts)
