"""Pruners other than SPU: what prefill promises them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from luvc_core.chat import SamplingParams
from luvc_core.compression.settings import Ramp, SpuSettings
from luvc_core.engine.prefill import prefill, pruner_for
from luvc_core.engine.pruner import Pruner, PruningDecision, SurvivingTokens
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request, Result
from luvc_core.models.base import LanguageHalf, Rotary
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.checkpoints import two_images


class Odd:
    """Before layer 2, of each picture every other token leaves, merged into the one before it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, list[int]]] = []

    def decide(
        self, layer: int, hidden: Tensor, rotary: Rotary, survivors: Sequence[SurvivingTokens]
    ) -> list[PruningDecision | None]:
        assert rotary[0].shape[1] == len(hidden)
        self.calls.append((layer, len(hidden), [len(own.rows) for own in survivors]))
        if layer != 2:
            return [None] * len(survivors)
        return [self.merged(hidden[own.rows]) for own in survivors]

    def merged(self, hidden: Tensor) -> PruningDecision:
        """hidden: [survivors, dim], of one image."""
        sums, leaving = hidden[0::2].clone(), hidden[1::2]
        sums[: len(leaving)] += leaving
        return PruningDecision(torch.arange(0, len(hidden), 2), hidden=sums)


def finished(language: LanguageHalf, images: list[VisionTokens], spu: Pruner) -> Result:
    generation = RequestProcessor(language).start(
        Request(two_images(images), SamplingParams(4), spu)
    )
    while (event := generation.step()) is not None:
        if event.result is not None:
            return event.result
    raise AssertionError


def test_a_pruner_is_asked_before_every_layer_and_its_counts_are_told(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    pruner = Odd()
    result = finished(language, images, pruner)
    sizes = [image.token_count for image in images]
    halves = [-(-size // 2) for size in sizes]
    text = result.prompt_token_count
    whole, half = (text + sum(sizes), sizes), (text + sum(halves), halves)
    assert pruner.calls == [(layer, *(whole if layer < 3 else half)) for layer in range(5)]
    assert result.layer_visual_token_counts == (sum(sizes),) * 2 + (sum(halves),) * 3


def test_hidden_states_that_a_pruner_returns_go_into_the_layer(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    class Dropping(Odd):
        def merged(self, hidden: Tensor) -> PruningDecision:
            return replace(super().merged(hidden), hidden=None)

    prompt = language.tokenize(two_images(images))
    with torch.inference_mode():
        merged, caches = prefill(language, prompt, Odd(), lambda: None)
        dropped, plain = prefill(language, prompt, Dropping(), lambda: None)
    assert torch.equal(caches[1].keys, plain[1].keys)
    assert caches[2].keys.shape == plain[2].keys.shape
    assert not torch.allclose(caches[2].keys, plain[2].keys)
    assert not torch.equal(merged, dropped)


def test_settings_and_their_pruner_are_one(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    prompt, spu = language.tokenize(two_images(images)), SpuSettings(Ramp())
    with torch.inference_mode():
        one, _ = prefill(language, prompt, spu, lambda: None)
        other, _ = prefill(language, prompt, pruner_for(spu, prompt.images, 5), lambda: None)
    assert torch.equal(one, other)


def test_counts_alone_change_how_much_a_token_weighs(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    """A decision may let all tokens stay and change only what they represent."""

    class Raising:
        def decide(
            self, layer: int, hidden: Tensor, rotary: Rotary, survivors: Sequence[SurvivingTokens]
        ) -> list[PruningDecision | None]:
            if layer != 2:
                return [None] * len(survivors)
            return [
                PruningDecision(torch.arange(len(own.rows)), torch.full((len(own.rows),), 2.0))
                for own in survivors
            ]

    prompt = language.tokenize(two_images(images))
    with torch.inference_mode():
        _, caches = prefill(language, prompt, Raising(), lambda: None)
    assert [cache.length for cache in caches] == [prompt.length] * len(caches)
    expected = torch.where(prompt.visual, 2.0, 1.0).log()
    assert [cache.bias is None for cache in caches[:2]] == [True, True]
    for cache in caches[2:]:
        assert torch.equal(cache.bias, expected)
