"""Pruning left out where it costs more than it saves: when, and that it is told."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from luvc import AsyncClient

from benchmarks.compute.pruning_break_even import noise
from decoder_service.config import DecoderConfig
from luvc_core.chat import SamplingParams
from luvc_core.compression.profiles import profile
from luvc_core.compression.settings import Keep, SpuSettings
from luvc_core.engine.generation import Generation
from luvc_core.engine.pruning_cost import pruning_pays_off
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request, Result
from luvc_core.errors import InvalidSettings
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.models.registry import load_language
from tests.support import in_process_halves
from tests.support.checkpoints import ask, encoded, noise_image

LOSSLESS = profile("lossless").spu


@pytest.fixture(scope="module")
def embedded() -> LanguageHalf:
    return load_language("luvc-tiny-qwen2vl", "cpu", "float32")


def answered(generation: Generation) -> tuple[tuple[int, ...], Result]:
    last = list(iter(generation.step, None))[-1].result
    assert last is not None
    return generation.tokens, last


@pytest.mark.parametrize(("side", "left_out"), [(2, True), (16, False)])
def test_small_images_are_answered_as_without_pruning(
    embedded: LanguageHalf, side: int, left_out: bool
) -> None:
    request = Request(ask(noise(embedded, side), "What?"), SamplingParams(max_tokens=8), LOSSLESS)
    tokens, result = answered(RequestProcessor(embedded, auto_pruning=True).start(request))
    expected = dataclasses.replace(request, spu=None) if left_out else request
    tokens_expected, result_expected = answered(RequestProcessor(embedded).start(expected))
    assert tokens == tokens_expected
    assert result.layer_visual_token_counts == result_expected.layer_visual_token_counts
    assert result.pruning_left_out is left_out
    assert result_expected.pruning_left_out is False
    assert (result.layer_visual_token_counts[-1] == side**2) is left_out


def test_once_it_pays_it_pays_for_more(embedded: LanguageHalf) -> None:
    prompts = [embedded.tokenize(ask(noise(embedded, side), "?")) for side in range(2, 33)]
    assert LOSSLESS
    found = [pruning_pays_off(embedded, prompt, LOSSLESS) for prompt in prompts]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (False, True)


def test_nothing_to_prune_is_not_left_out(embedded: LanguageHalf) -> None:
    for spu in (None, LOSSLESS):
        request = Request(ask("Say something."), SamplingParams(max_tokens=2), spu)
        assert not answered(RequestProcessor(embedded, auto_pruning=True).start(request))[
            1
        ].pruning_left_out


def test_a_schedule_for_another_depth_is_refused_all_the_same(embedded: LanguageHalf) -> None:
    request = Request(ask(noise(embedded, 2), "?"), spu=SpuSettings(Keep((1.0, 0.0))))
    with pytest.raises(InvalidSettings, match="12 layers"):
        RequestProcessor(embedded, auto_pruning=True).start(request)


async def test_usage_tells(checkpoint: Path, vision: VisionHalf) -> None:
    assert DecoderConfig().pruning == "auto"
    image = encoded(noise_image(112, 112))
    async with (
        in_process_halves.decoder(checkpoint, pruning="auto") as (endpoint, _),
        in_process_halves.encoder(vision, endpoint) as (front, _),
        AsyncClient(front) as client,
    ):
        found = [
            await asyncio.wait_for(client.ask("Why?", image, profile=name, max_tokens=6), 60)
            for name in ("lossless", "off")
        ]
    usages = [answer.usage for answer in found]
    assert found[0].text == found[1].text
    assert [usage.pruning_left_out for usage in usages] == [True, False]
    assert usages[0].profile == "lossless"
    assert list(usages[0].layer_visual_token_counts) == [16] * 5
