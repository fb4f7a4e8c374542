"""Pruners other than SPU: what prefill promises them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from luvc_core.chat import SamplingParams
from luvc_core.compression.settings import Ramp, SpuSettings
from luvc_core.engine.prefill import prefill, pruner_for
from luvc_core.engine.pruner import Pruner, SurvivingTokens
from luvc_core.engine.request_processor import Request, RequestProcessor, Result
from luvc_core.models.base import LanguageHalf, Rotary
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.checkpoints import two_images


class Odd:
    """Before layer 2, of each picture every other token leaves, merged into the one before it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, list[int]]] = []

    def keep(
        self, layer: int, hidden: Tensor, rotary: Rotary, left: Sequence[SurvivingTokens]
    ) -> list[Tensor | None]:
        assert rotary[0].shape[1] == len(hidden)
        self.calls.append((layer, len(hidden), [len(own.rows) for own in left]))
        if layer != 2:
            return [None] * len(left)
        for own in left:
            pairs = len(own.rows) // 2
            hidden[own.rows[0 : 2 * pairs : 2]] += hidden[own.rows[1 : 2 * pairs : 2]]
        return [torch.arange(0, len(own.rows), 2) for own in left]


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


def test_what_a_pruner_writes_goes_into_the_layer(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    class Kept(Odd):
        def keep(
            self, layer: int, hidden: Tensor, rotary: Rotary, left: Sequence[SurvivingTokens]
        ) -> list[Tensor | None]:
            return super().keep(layer, hidden.clone(), rotary, left)

    prompt = language.tokenize(two_images(images))
    with torch.inference_mode():
        merged, caches = prefill(language, prompt, Odd(), lambda: None)
        dropped, plain = prefill(language, prompt, Kept(), lambda: None)
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
