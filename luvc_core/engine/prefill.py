"""The prompt through all layers, its visual tokens pruned on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from luvc_core.algorithms.ragged import LayerCache
from luvc_core.algorithms.spectrum import keep_top
from luvc_core.config import SpuSettings
from luvc_core.engine.scoring import picture_energy
from luvc_core.models.base import LanguageHalf, Prompt
from luvc_core.tokens import VisionTokens


@dataclass
class _Left:
    """What is left of one picture, which may stand in several runs with text between them.

    rows: int64 [tokens], where in the sequence. places: int64 [tokens], which of the picture's
    tokens they are.
    """

    rows: Tensor
    places: Tensor


def layer_counts(
    pictures: Sequence[VisionTokens], spu: SpuSettings | None, layer_count: int
) -> list[tuple[int, ...]]:
    """For each picture, how many of its tokens enter each layer.

    The schedule holds for each picture, not for each of its tiles: a tile that shows more may keep
    more. Separators count as tokens of their picture.
    """
    sizes = [picture.token_count for picture in pictures]
    if spu is None:
        return [(size,) * layer_count for size in sizes]
    return [spu.layer_counts(layer_count, size) for size in sizes]


class Prefill:
    """A prompt on its way through the layers, one at a time, so that others may run in between.

    Before a layer, the tokens that the schedule takes away leave the sequence for good; all others
    keep their rotary positions. Text never leaves. Scores need all of a picture's tokens that are
    left at a layer: a prefill can be sliced by layers, not by tokens.
    """

    def __init__(
        self,
        language: LanguageHalf,
        prompt: Prompt,
        spu: SpuSettings | None,
        capacities: Sequence[int] = (),
    ) -> None:
        """capacities: of each layer's cache, where they are known."""
        self.caches = [LayerCache(room) for room in capacities or [0] * language.layer_count]
        self._language = language
        self._prompt = prompt
        self._spu = spu
        self._counts = layer_counts(prompt.pictures, spu, language.layer_count)
        self._next = 0
        self._left: list[_Left] = []
        self._hidden = torch.empty(0)
        self._rotary = (self._hidden, self._hidden)

    @property
    def ended(self) -> bool:
        """Whether all layers are computed."""
        return self._next == len(self.caches)

    def rows_of(self, layer: int) -> int:
        """How many tokens enter a layer."""
        text = self._prompt.length - sum(p.token_count for p in self._prompt.pictures)
        return text + sum(counts[layer] for counts in self._counts)

    @property
    def next_rows(self) -> int:
        """How many tokens enter the layer that comes next, 0 at the end."""
        return 0 if self.ended else self.rows_of(self._next)

    @property
    def rows_left(self) -> int:
        """The same summed over all layers still to come."""
        return sum(map(self.rows_of, range(self._next, len(self.caches))))

    def advance(self) -> None:
        """Compute the next layer."""
        if self._next == 0:
            self._left = _all_of(self._prompt, self._language.device)
            self._hidden = _embed(self._language, self._prompt)
            self._rotary = self._language.rotary(self._prompt.positions)
        index = self._next
        if self._spu is not None:
            counts = [c[index] for c in self._counts]
            kept = _prune(self._hidden, self._left, counts, self._prompt.pictures, self._spu)
            if kept is not None:
                cos, sin = self._rotary
                self._hidden, self._rotary = self._hidden[kept], (cos[:, kept], sin[:, kept])
        self._hidden = self._language.layer(index, self._hidden, self._rotary, self.caches[index])
        self._next += 1

    def logits(self) -> Tensor:
        """After the last token, float32 [vocabulary]. Only when all layers are computed."""
        return self._language.logits(self._hidden[-1:])[0]


def prefill(
    language: LanguageHalf,
    prompt: Prompt,
    spu: SpuSettings | None,
    check: Callable[[], None],
) -> tuple[Tensor, list[LayerCache]]:
    """All layers at once: logits after the last token, float32 [vocabulary], and one cache a layer.

    check: called before every layer, and may raise.
    """
    work = Prefill(language, prompt, spu)
    while not work.ended:
        check()
        work.advance()
    return work.logits(), work.caches


def _embed(language: LanguageHalf, prompt: Prompt) -> Tensor:
    """[length, hidden]: word embeddings, with the visual tokens in their places."""
    hidden = language.embed(prompt.ids.to(language.device))
    if not prompt.pictures:
        return hidden
    visual = torch.cat([picture.embeddings for picture in prompt.pictures])
    places = prompt.visual.nonzero().squeeze(1).to(language.device)
    return hidden.index_copy(0, places, visual.to(language.device, language.dtype))


def _all_of(prompt: Prompt, device: torch.device) -> list[_Left]:
    """Every picture, before any pruning."""
    rows = [(prompt.segment == i).nonzero().squeeze(1) for i in range(len(prompt.pictures))]
    return [_Left(own.to(device), torch.arange(len(own), device=device)) for own in rows]


def _prune(
    hidden: Tensor,
    left: list[_Left],
    counts: Sequence[int],
    pictures: Sequence[VisionTokens],
    spu: SpuSettings,
) -> Tensor | None:
    """Shrink each picture to its count. Returns the rows that stay, ascending, None if all do."""
    stay = torch.ones(len(hidden), dtype=torch.bool, device=hidden.device)
    length = len(hidden)
    for own, count, picture in zip(left, counts, pictures, strict=True):
        if count >= len(own.rows):
            continue
        length -= len(own.rows) - count
        best = own.rows[:0]
        if count:
            scores = picture_energy(hidden[own.rows], own.places, picture.pieces, spu)
            best = keep_top(scores, count)
        stay[own.rows] = False
        own.rows, own.places = own.rows[best], own.places[best]
        stay[own.rows] = True
    if length == len(hidden):
        return None
    moved = stay.cumsum(0) - 1
    for own in left:
        own.rows = moved[own.rows]
    # How many stay is known: asking the device, as a mask for an index does, would wait for it.
    slots = torch.where(stay, moved, length)
    rows = torch.arange(len(hidden), device=hidden.device)
    return rows.new_empty(length + 1).scatter(0, slots, rows)[:length]
