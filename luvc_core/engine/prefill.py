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


def prefill(
    language: LanguageHalf,
    prompt: Prompt,
    spu: SpuSettings | None,
    check: Callable[[], None],
) -> tuple[Tensor, list[LayerCache]]:
    """Logits after the last token, float32 [vocabulary], and one cache a layer.

    Before a layer, the tokens that the schedule takes away leave the sequence for good; all others
    keep their rotary positions. Text never leaves. `check` is called before every layer, and may
    raise.
    """
    counts = layer_counts(prompt.pictures, spu, language.layer_count)
    left = _all_of(prompt, language.device)
    hidden = _embed(language, prompt)
    cos, sin = language.rotary(prompt.positions)
    caches = [LayerCache() for _ in range(language.layer_count)]
    for index, cache in enumerate(caches):
        check()
        if spu is not None:
            kept = _prune(hidden, left, [c[index] for c in counts], prompt.pictures, spu)
            if kept is not None:
                hidden, cos, sin = hidden[kept], cos[:, kept], sin[:, kept]
        hidden = language.layer(index, hidden, (cos, sin), cache)
    return language.logits(hidden[-1:])[0], caches


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
