"""Prefill: run the prompt through all layers of the LLM, pruning visual tokens on the way."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.pruner import Pruner, PruningDecision, SpuPruner, SurvivingTokens
from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.models.base import LanguageHalf, Prompt
from luvc_core.visual_tokens.vision_tokens import VisionTokens


def layer_counts(
    images: Sequence[VisionTokens], pruning: SpuSettings | Pruner | None, layer_count: int
) -> list[tuple[int, ...]]:
    """Count how many tokens of each image enter each layer; at most, where a pruner decides.

    The schedule holds for each image, not for each of its tiles: a tile that shows more may keep
    more. Separators count as tokens of their image.

    Args:
        images: all images of a request.
        pruning: the schedule, a pruner, or None for no pruning.
        layer_count: layers of the LLM.

    Returns:
        For each image one count a layer.

    Raises:
        InvalidSettings: for a schedule that is for another depth.
    """
    sizes = [image.token_count for image in images]
    if isinstance(pruning, SpuSettings):
        return [pruning.layer_counts(layer_count, size) for size in sizes]
    return [(size,) * layer_count for size in sizes]


def pruner_for(
    pruning: SpuSettings | Pruner | None, images: Sequence[VisionTokens], layer_count: int
) -> Pruner | None:
    """Make the pruner of one request.

    Args:
        pruning: settings of SPU, another pruner, which is returned, or None for no pruning.
        images: all images of the request.
        layer_count: layers of the LLM.

    Raises:
        InvalidSettings: for a schedule that is for another depth.
    """
    if isinstance(pruning, SpuSettings):
        return SpuPruner(pruning, images, layer_counts(images, pruning, layer_count))
    return pruning


class Prefill:
    """A prompt on its way through the layers, one at a time, so that others may run in between.

    Before a layer, pruned tokens leave the sequence for good. All others keep their rotary
    positions, and may represent in attention those that left. Text never leaves. A score needs all
    survivors of an image: a prefill can be sliced by layers, not by tokens.
    """

    def __init__(
        self,
        language: LanguageHalf,
        prompt: Prompt,
        pruning: SpuSettings | Pruner | None,
        capacities: Sequence[int] = (),
    ) -> None:
        """Prepare; nothing is computed yet.

        Args:
            language: the model.
            prompt: text and images, tokenised.
            pruning: settings of SPU, another pruner, or None for no pruning.
            capacities: of each layer's cache in tokens, where they are known.

        Raises:
            InvalidSettings: for a schedule that is for another depth.
        """
        self.caches = [
            LayerCache(capacity) for capacity in capacities or [0] * language.layer_count
        ]
        self._language = language
        self._prompt = prompt
        self._pruner = pruner_for(pruning, prompt.images, language.layer_count)
        per_image = layer_counts(prompt.images, pruning, language.layer_count)
        text = prompt.length - sum(image.token_count for image in prompt.images)
        # For each layer, how many tokens enter it; at most, where a pruner decides.
        self._rows = [
            text + sum(counts[layer] for counts in per_image)
            for layer in range(language.layer_count)
        ]
        self._next_layer = 0
        self._survivors: list[SurvivingTokens] = []
        self._hidden = torch.empty(0)
        self._rotary = (self._hidden, self._hidden)
        self._bias: Tensor | None = None

    @property
    def ended(self) -> bool:
        """Whether all layers are computed."""
        return self._next_layer == len(self.caches)

    @property
    def next_rows(self) -> int:
        """How many tokens enter the next layer; 0 at the end."""
        return 0 if self.ended else self._rows[self._next_layer]

    @property
    def remaining_rows(self) -> int:
        """How many tokens enter the layers still to come, summed over these layers."""
        return sum(self._rows[self._next_layer :])

    def advance(self) -> None:
        """Compute the next layer."""
        index = self._next_layer
        if index == 0:
            self._survivors = _all_tokens(self._prompt, self._language.device)
            self._hidden = _embed(self._language, self._prompt)
            self._rotary = self._language.rotary(self._prompt.positions)
        if self._pruner is not None:
            self._apply(self._pruner.decide(index, self._hidden, self._rotary, self._survivors))
        self.caches[index].bias = self._bias
        self._hidden = self._language.layer(index, self._hidden, self._rotary, self.caches[index])
        self._next_layer += 1

    def logits(self) -> Tensor:
        """Compute the logits after the last token, float32 [vocabulary]. Only when `ended`."""
        return self._language.logits(self._hidden[-1:])[0]

    def _apply(self, decisions: Sequence[PruningDecision | None]) -> None:
        if all(decision is None for decision in decisions):
            return
        self._survivors, rows = _drop(self._survivors, decisions, len(self._hidden))
        if rows is not None:
            cos, sin = self._rotary
            self._hidden, self._rotary = self._hidden[rows], (cos[:, rows], sin[:, rows])
        for tokens, decision in zip(self._survivors, decisions, strict=True):
            if decision is not None and decision.hidden is not None:
                self._hidden = self._hidden.index_copy(0, tokens.rows, decision.hidden)
        self._bias = _bias_of(self._survivors, len(self._hidden))


def prefill(
    language: LanguageHalf,
    prompt: Prompt,
    pruning: SpuSettings | Pruner | None,
    check: Callable[[], None],
) -> tuple[Tensor, list[LayerCache]]:
    """Compute all layers of a prompt.

    Args:
        language: the model.
        prompt: text and images, tokenised.
        pruning: settings of SPU, another pruner, or None for no pruning.
        check: called before every layer; what it raises ends the prefill.

    Returns:
        Logits after the last token, float32 [vocabulary], and one cache a layer.
    """
    work = Prefill(language, prompt, pruning)
    while not work.ended:
        check()
        work.advance()
    return work.logits(), work.caches


def _embed(language: LanguageHalf, prompt: Prompt) -> Tensor:
    """Embed text and put the visual tokens at their rows: [length, hidden]."""
    hidden = language.embed(prompt.ids.to(language.device))
    if not prompt.images:
        return hidden
    visual = torch.cat([image.embeddings for image in prompt.images])
    rows = prompt.visual.nonzero().squeeze(1).to(language.device)
    return hidden.index_copy(0, rows, visual.to(language.device, language.dtype))


def _all_tokens(prompt: Prompt, device: torch.device) -> list[SurvivingTokens]:
    """List all tokens of every image, before any pruning."""
    rows_per_image = [(prompt.segment == i).nonzero().squeeze(1) for i in range(len(prompt.images))]
    return [
        SurvivingTokens(rows.to(device), torch.arange(len(rows), device=device))
        for rows in rows_per_image
    ]


def _bias_of(survivors: Sequence[SurvivingTokens], length: int) -> Tensor | None:
    """Compute what is added to attention logits: the log of how many tokens a row represents.

    float32 [length]; None where each row represents itself alone.
    """
    bias = None
    for tokens in survivors:
        if tokens.counts is None or len(tokens.rows) == 0:
            continue
        if bias is None:
            bias = torch.zeros(length, device=tokens.rows.device)
        bias[tokens.rows] = tokens.counts.log()
    return bias


def _drop(
    survivors: Sequence[SurvivingTokens],
    decisions: Sequence[PruningDecision | None],
    length: int,
) -> tuple[list[SurvivingTokens], Tensor | None]:
    """Apply decisions to the survivors of a sequence of `length` rows.

    Returns the survivors with their new rows, and the old rows that stay: int64, ascending, None if
    all do.
    """
    before = length
    stay = None
    remaining = []
    for tokens, decision in zip(survivors, decisions, strict=True):
        kept = tokens if decision is None else _kept(tokens, decision)
        remaining.append(kept)
        if len(kept.rows) == len(tokens.rows):
            continue
        if stay is None:
            stay = torch.ones(before, dtype=torch.bool, device=tokens.rows.device)
        length -= len(tokens.rows) - len(kept.rows)
        stay[tokens.rows] = False
        stay[kept.rows] = True
    if stay is None:
        return remaining, None
    moved = stay.cumsum(0) - 1
    remaining = [replace(tokens, rows=moved[tokens.rows]) for tokens in remaining]
    # How many rows stay is known here. An index by mask would wait for the device to count them.
    slots = torch.where(stay, moved, length)
    rows = torch.arange(before, device=stay.device)
    return remaining, rows.new_empty(length + 1).scatter(0, slots, rows)[:length]


def _kept(tokens: SurvivingTokens, decision: PruningDecision) -> SurvivingTokens:
    indices, counts = decision.indices, decision.counts
    if counts is None and tokens.counts is not None:
        counts = tokens.counts[indices]
    return SurvivingTokens(tokens.rows[indices], tokens.indices[indices], counts)
