"""Qwen2-VL's decoder, one layer and one request at a time."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VLRotaryEmbedding,
    Qwen2VLTextModel,
)

from luvc_core.algorithms.ragged import LayerCache
from luvc_core.chat import Message
from luvc_core.models.base import LanguageHalf, Prompt, Rotary, runs_of
from luvc_core.models.loading import Weights
from luvc_core.models.prompting import TEXT, ChatTokenizer
from luvc_core.models.qwen2_vl import RENAMES, identity_of, read_config
from luvc_core.models.resolve import Checkpoint
from luvc_core.tokens import Identity, VisionTokens

_PLACEHOLDER = "<|image_pad|>"


class Qwen2VLLanguage(LanguageHalf):
    def __init__(
        self,
        identity: Identity,
        text: Qwen2VLTextModel,
        head: Tensor,
        tokenizer: ChatTokenizer,
        stop_ids: frozenset[int],
        device: torch.device,
    ) -> None:
        self.identity = identity
        self.layer_count = len(text.layers)
        self.context_length = text.config.max_position_embeddings
        self.stop_ids = stop_ids
        self.device = device
        self.dtype = text.dtype
        self._text = text
        self._head = head
        self._tokenizer = tokenizer
        self._rotary = Qwen2VLRotaryEmbedding(text.config).to(device)

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        config = read_config(checkpoint)
        weights = Weights(checkpoint, RENAMES)
        with torch.device("meta"):
            text = Qwen2VLTextModel._from_config(config.text_config, attn_implementation="sdpa")
            head = torch.nn.Linear(text.config.hidden_size, text.config.vocab_size, bias=False)
        weights.fill(text, "language.", device, dtype)
        if config.tie_word_embeddings:
            head.weight = text.embed_tokens.weight
        else:
            weights.fill(head, "lm_head.", device, dtype)
        tokenizer = ChatTokenizer(checkpoint, _PLACEHOLDER)
        stop_ids = tokenizer.stop_ids(checkpoint)
        identity = identity_of(checkpoint, config, weights)
        return cls(identity, text, head.weight, tokenizer, stop_ids, device)

    def tokenize(self, messages: Sequence[Message[VisionTokens]]) -> Prompt:
        ids, segments = self._tokenizer.ids_of(messages)
        pictures = tuple(p for m in messages for p in m.parts if isinstance(p, VisionTokens))
        segment = torch.tensor(segments)
        positions = _mrope_positions(segment, pictures)
        next_position = float(positions.max()) + 1
        return Prompt(torch.tensor(ids), segment, positions, next_position, pictures)

    def text_of(self, ids: Sequence[int]) -> str:
        return self._tokenizer.text_of(ids)

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self._text.embed_tokens(ids)
        return embedded

    def rotary(self, positions: Tensor) -> Rotary:
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        cos, sin = self._rotary(like, positions.to(self.device).T.unsqueeze(1))
        return cos, sin

    def layer(self, index: int, hidden: Tensor, rotary: Rotary, cache: LayerCache) -> Tensor:
        out: Tensor = self._text.layers[index](
            hidden.unsqueeze(0),
            attention_mask=_causal_mask(hidden, cache),
            position_embeddings=rotary,
            past_key_values=_AppendTo(cache),
        )
        return out.squeeze(0)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(self._text.norm(hidden), self._head).float()


class _AppendTo:
    """What a decoder layer of transformers calls a cache."""

    def __init__(self, cache: LayerCache) -> None:
        self._cache = cache

    def update(self, keys: Tensor, values: Tensor, layer_index: int) -> tuple[Tensor, Tensor]:
        return self._cache.append(keys, values)


def _causal_mask(hidden: Tensor, cache: LayerCache) -> Tensor | None:
    """bool [1, 1, new, all], or None where the layer's own rule, causal from 0, is right."""
    new = hidden.shape[0]
    if new == 1 or cache.length == 0:
        return None
    visible = torch.ones(new, cache.length + new, dtype=torch.bool, device=hidden.device)
    return visible.tril(cache.length)[None, None]


def _mrope_positions(segment: Tensor, pictures: Sequence[VisionTokens]) -> Tensor:
    """float32 [length, 3]: text counts on all axes; a picture starts where text left off, spreads
    along its axes, and text goes on after its longer side."""
    parts: list[Tensor] = []
    start = 0
    for picture, length in runs_of(segment):
        if picture == TEXT:
            parts.append(torch.arange(start, start + length).float().unsqueeze(1).expand(-1, 3))
            start += length
        else:
            tokens = pictures[picture]
            extent = tokens.source_grid if tokens.source_positions else tokens.grid
            parts.append(tokens.llm_positions + start)
            start += max(extent.rows, extent.columns)
    return torch.cat(parts)
