"""The prompt through all layers, its visual tokens pruned on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from luvc_core.algorithms.ragged import LayerCache
from luvc_core.algorithms.spectrum import keep_top
from luvc_core.config import SpuSettings
from luvc_core.engine.scoring import picture_energy
from luvc_core.models.base import LanguageHalf, Prompt, runs_of
from luvc_core.tokens import VisionTokens


@dataclass
class _Span:
    """Neighbouring rows of the sequence: text, or what is left of one picture.

    places: int64 [length], which of the picture's tokens they are.
    """

    length: int
    picture: int | None
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
    spans = _spans_of(prompt, language.device)
    hidden = _embed(language, prompt)
    cos, sin = language.rotary(prompt.positions)
    caches = [LayerCache() for _ in range(language.layer_count)]
    for index, cache in enumerate(caches):
        check()
        if spu is not None:
            kept = _prune(hidden, spans, [c[index] for c in counts], prompt.pictures, spu)
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


def _spans_of(prompt: Prompt, device: torch.device) -> list[_Span]:
    return [
        _Span(length, picture if picture >= 0 else None, torch.arange(length, device=device))
        for picture, length in runs_of(prompt.segment)
    ]


def _prune(
    hidden: Tensor,
    spans: list[_Span],
    counts: Sequence[int],
    pictures: Sequence[VisionTokens],
    spu: SpuSettings,
) -> Tensor | None:
    """Shrink each picture's span to its count. Returns the rows that stay, None if all do."""
    rows: list[Tensor] = []
    start, changed = 0, False
    for span in spans:
        stay = torch.arange(span.length, device=hidden.device)
        if span.picture is not None and counts[span.picture] < span.length:
            stay = _best(hidden[start : start + span.length], span, pictures, counts, spu)
            changed = True
        rows.append(stay + start)
        start += span.length
        span.length, span.places = len(stay), span.places[stay]
    return torch.cat(rows) if changed else None


def _best(
    hidden: Tensor,
    span: _Span,
    pictures: Sequence[VisionTokens],
    counts: Sequence[int],
    spu: SpuSettings,
) -> Tensor:
    """Rows of a picture's span [length, hidden] that stay, ascending."""
    assert span.picture is not None
    count = counts[span.picture]
    if count == 0:
        return torch.arange(0, device=hidden.device)
    scores = picture_energy(hidden, span.places, pictures[span.picture].pieces, spu)
    return keep_top(scores, count)
