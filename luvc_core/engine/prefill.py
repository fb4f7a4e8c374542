"""The prompt through all layers, its visual tokens pruned on the way."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.pruner import Pruner, SpuPruner, SurvivingTokens
from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.models.base import LanguageHalf, Prompt
from luvc_core.visual_tokens.vision_tokens import VisionTokens


def layer_counts(
    images: Sequence[VisionTokens], pruning: SpuSettings | Pruner | None, layer_count: int
) -> list[tuple[int, ...]]:
    """For each picture, how many of its tokens enter each layer; at most, where a pruner decides.

    The schedule holds for each picture, not for each of its tiles: a tile that shows more may keep
    more. Separators count as tokens of their picture.
    """
    sizes = [image.token_count for image in images]
    if isinstance(pruning, SpuSettings):
        return [pruning.layer_counts(layer_count, size) for size in sizes]
    return [(size,) * layer_count for size in sizes]


def pruner_for(
    pruning: SpuSettings | Pruner | None, images: Sequence[VisionTokens], layer_count: int
) -> Pruner | None:
    """Who prunes one request. Raises InvalidSettings for a schedule that is for another depth."""
    if isinstance(pruning, SpuSettings):
        return SpuPruner(pruning, images, layer_counts(images, pruning, layer_count))
    return pruning


class Prefill:
    """A prompt on its way through the layers, one at a time, so that others may run in between.

    Before a layer, the tokens that are pruned leave the sequence for good; all others keep their
    rotary positions, and may weigh in attention for those that left. Text never leaves. Scores need
    all of a picture's tokens that are left at a layer: a prefill can be sliced by layers, not by
    tokens.
    """

    def __init__(
        self,
        language: LanguageHalf,
        prompt: Prompt,
        pruning: SpuSettings | Pruner | None,
        capacities: Sequence[int] = (),
    ) -> None:
        """capacities: of each layer's cache, where they are known."""
        self.caches = [LayerCache(room) for room in capacities or [0] * language.layer_count]
        self._language = language
        self._prompt = prompt
        self._pruner = pruner_for(pruning, prompt.images, language.layer_count)
        per_image = layer_counts(prompt.images, pruning, language.layer_count)
        text = prompt.length - sum(p.token_count for p in prompt.images)
        # Of each layer, how many tokens enter; at most, where a pruner decides.
        self._rows = [
            text + sum(counts[layer] for counts in per_image)
            for layer in range(language.layer_count)
        ]
        self._next = 0
        self._left: list[SurvivingTokens] = []
        self._hidden = torch.empty(0)
        self._rotary = (self._hidden, self._hidden)
        self._bias: Tensor | None = None

    @property
    def ended(self) -> bool:
        """Whether all layers are computed."""
        return self._next == len(self.caches)

    @property
    def next_rows(self) -> int:
        """How many tokens enter the layer that comes next, 0 at the end."""
        return 0 if self.ended else self._rows[self._next]

    @property
    def rows_left(self) -> int:
        """The same summed over all layers still to come."""
        return sum(self._rows[self._next :])

    def advance(self) -> None:
        """Compute the next layer."""
        if self._next == 0:
            self._left = _all_of(self._prompt, self._language.device)
            self._hidden = _embed(self._language, self._prompt)
            self._rotary = self._language.rotary(self._prompt.positions)
        index = self._next
        if self._pruner is not None:
            best = self._pruner.keep(index, self._hidden, self._rotary, self._left)
            kept = _prune(self._left, best, len(self._hidden))
            if kept is not None:
                cos, sin = self._rotary
                self._hidden, self._rotary = self._hidden[kept], (cos[:, kept], sin[:, kept])
                self._bias = _bias_of(self._left, len(kept))
        self.caches[index].bias = self._bias
        self._hidden = self._language.layer(index, self._hidden, self._rotary, self.caches[index])
        self._next += 1

    def logits(self) -> Tensor:
        """After the last token, float32 [vocabulary]. Only when all layers are computed."""
        return self._language.logits(self._hidden[-1:])[0]


def prefill(
    language: LanguageHalf,
    prompt: Prompt,
    pruning: SpuSettings | Pruner | None,
    check: Callable[[], None],
) -> tuple[Tensor, list[LayerCache]]:
    """All layers at once: logits after the last token, float32 [vocabulary], and one cache a layer.

    check: called before every layer, and may raise.
    """
    work = Prefill(language, prompt, pruning)
    while not work.ended:
        check()
        work.advance()
    return work.logits(), work.caches


def _embed(language: LanguageHalf, prompt: Prompt) -> Tensor:
    """[length, hidden]: word embeddings, with the visual tokens in their places."""
    hidden = language.embed(prompt.ids.to(language.device))
    if not prompt.images:
        return hidden
    visual = torch.cat([image.embeddings for image in prompt.images])
    places = prompt.visual.nonzero().squeeze(1).to(language.device)
    return hidden.index_copy(0, places, visual.to(language.device, language.dtype))


def _all_of(prompt: Prompt, device: torch.device) -> list[SurvivingTokens]:
    """Every picture, before any pruning."""
    rows = [(prompt.segment == i).nonzero().squeeze(1) for i in range(len(prompt.images))]
    return [SurvivingTokens(own.to(device), torch.arange(len(own), device=device)) for own in rows]


def _bias_of(left: Sequence[SurvivingTokens], length: int) -> Tensor | None:
    """float32 [length]: log of how many tokens each row of a sequence stands for; None where each
    stands for itself."""
    shared = [own for own in left if own.counts is not None and len(own.rows)]
    if not shared:
        return None
    bias = torch.zeros(length, device=shared[0].rows.device)
    for own in shared:
        assert own.counts is not None
        bias[own.rows] = own.counts.log()
    return bias


def _prune(
    left: list[SurvivingTokens], kept: Sequence[Tensor | None], length: int
) -> Tensor | None:
    """Shrink each picture to what is kept of it. Returns the rows of a sequence of `length` that
    stay, ascending, None if all do."""
    before = length
    stay = None
    for own, best in zip(left, kept, strict=True):
        if best is None or len(best) == len(own.rows):
            continue
        if stay is None:
            stay = torch.ones(before, dtype=torch.bool, device=own.rows.device)
        length -= len(own.rows) - len(best)
        stay[own.rows] = False
        own.rows, own.places = own.rows[best], own.places[best]
        if own.counts is not None:
            own.counts = own.counts[best]
        stay[own.rows] = True
    if stay is None:
        return None
    moved = stay.cumsum(0) - 1
    for own in left:
        own.rows = moved[own.rows]
    # How many stay is known: asking the device, as a mask for an index does, would wait for it.
    slots = torch.where(stay, moved, length)
    rows = torch.arange(before, device=stay.device)
    return rows.new_empty(length + 1).scatter(0, slots, rows)[:length]
