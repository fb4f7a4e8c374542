"""The prompt through all layers, its visual tokens pruned on the way."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from luvc_core.algorithms.ragged import LayerCache
from luvc_core.config import SpuSettings
from luvc_core.engine.pruning import Left, Pruner, Spu
from luvc_core.models.base import LanguageHalf, Prompt
from luvc_core.tokens import VisionTokens


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


def pruner_for(
    pruning: SpuSettings | Pruner | None, pictures: Sequence[VisionTokens], layer_count: int
) -> Pruner | None:
    """Who prunes one request. Raises InvalidSettings for a schedule that is for another depth."""
    if isinstance(pruning, SpuSettings):
        return Spu(pruning, pictures, layer_counts(pictures, pruning, layer_count))
    return pruning


def prefill(
    language: LanguageHalf,
    prompt: Prompt,
    pruning: SpuSettings | Pruner | None,
    check: Callable[[], None],
) -> tuple[Tensor, list[LayerCache]]:
    """Logits after the last token, float32 [vocabulary], and one cache a layer.

    Before a layer, the tokens that are pruned leave the sequence for good; all others keep their
    rotary positions. Text never leaves. `check` is called before every layer, and may raise.
    """
    pruner = pruner_for(pruning, prompt.pictures, language.layer_count)
    left = _all_of(prompt, language.device)
    hidden = _embed(language, prompt)
    cos, sin = language.rotary(prompt.positions)
    caches = [LayerCache() for _ in range(language.layer_count)]
    for index, cache in enumerate(caches):
        check()
        if pruner is not None:
            kept = _prune(left, pruner.keep(index, hidden, (cos, sin), left), len(hidden))
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


def _all_of(prompt: Prompt, device: torch.device) -> list[Left]:
    """Every picture, before any pruning."""
    rows = [(prompt.segment == i).nonzero().squeeze(1) for i in range(len(prompt.pictures))]
    return [Left(own.to(device), torch.arange(len(own), device=device)) for own in rows]


def _prune(left: list[Left], kept: Sequence[Tensor | None], length: int) -> Tensor | None:
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
