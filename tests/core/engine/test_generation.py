"""Answers token by token: accounts, interleaving, and every way to end."""

import dataclasses
import itertools
from collections.abc import Iterator

import pytest
import torch

from luvc_core.chat import SamplingParams
from luvc_core.compression.settings import Keep, Ramp, SpuSettings
from luvc_core.engine.generation import Generation, GenerationStatus
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Event, Request
from luvc_core.errors import (
    DeadlineExceeded,
    IdentityMismatch,
    InvalidInput,
    InvalidSettings,
    PromptTooLong,
)
from luvc_core.models.base import LanguageHalf
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.checkpoints import ask, two_images
from tests.support.families import ALL_FAMILIES

pytestmark = [pytest.mark.transformers, ALL_FAMILIES]

LAYERS = 5
RAMP = SpuSettings(Ramp(start=0.0))
FALLING = SpuSettings(Keep((0.5, 0.4, 0.2, 0.1, 0.0)), sampling="index")


def events(generation: Generation) -> list[Event]:
    return list(iter(generation.step, None))


def answer(language: LanguageHalf, request: Request) -> tuple[int, ...]:
    generation = RequestProcessor(language).start(request)
    events(generation)
    return generation.tokens


def test_without_images_a_schedule_changes_nothing(language: LanguageHalf) -> None:
    plain = Request(ask("Say something."), SamplingParams(max_tokens=12))
    pruned = dataclasses.replace(plain, spu=RAMP)
    assert answer(language, plain) == answer(language, pruned)


def test_result_accounts(images: list[VisionTokens], language: LanguageHalf) -> None:
    spu = FALLING
    request = Request(two_images(images), SamplingParams(max_tokens=6), spu)
    found = events(RequestProcessor(language).start(request))
    result = found[-1].result
    assert [event.result for event in found[:-1]] == [None] * (len(found) - 1)
    assert result is not None
    prompt = language.tokenize(request.messages)
    counts = [spu.layer_counts(LAYERS, p.token_count) for p in images]
    assert result.layer_visual_token_counts == tuple(map(sum, zip(*counts, strict=True)))
    assert result.layer_visual_token_counts[-1] == 0
    assert result.layer_averaged_visual_token_count == sum(map(sum, counts)) / LAYERS
    assert result.merged_visual_token_count == sum(p.token_count for p in images)
    assert result.source_visual_token_count == result.merged_visual_token_count
    assert result.prompt_token_count + result.merged_visual_token_count == prompt.length
    assert result.finish_reason == "length"
    assert result.completion_token_count == 6
    # The last token drawn is never computed with.
    rows = LAYERS * (result.prompt_token_count + 5) + sum(result.layer_visual_token_counts)
    assert result.cache_byte_count == rows * 2 * 2 * 16 * 4
    assert result.prefill_seconds > 0
    assert result.decode_seconds > 0


def test_interleaved_answers_equal_those_alone(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    most = SamplingParams(max_tokens=10)
    requests = [
        Request(ask(images[0], "What?"), most),
        Request(two_images(images), most, RAMP),
        Request(ask("Only text."), most),
        Request(two_images(images), SamplingParams(max_tokens=7, temperature=1.0, seed=3)),
        Request(ask(images[1], "And?"), most, FALLING),
    ]
    alone = [answer(language, request) for request in requests]
    engine = RequestProcessor(language)
    generations = [engine.start(request) for request in requests[:2]]
    for late in (*requests[2:], None, None, None):
        for generation in generations:
            generation.step()
        if late is not None:
            generations.append(engine.start(late))
    for _ in itertools.takewhile(bool, iter(lambda: [s for s in generations if s.step()], None)):
        pass
    assert [generation.tokens for generation in generations] == alone


def test_a_second_question_starts_from_all_tokens_again(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    before = [image.embeddings.clone() for image in images]
    request = Request(two_images(images), SamplingParams(max_tokens=5), RAMP)
    assert answer(language, request) == answer(language, request)
    for image, embeddings in zip(images, before, strict=True):
        assert torch.equal(image.embeddings, embeddings)


def test_seeds_make_sampling_repeatable(language: LanguageHalf) -> None:
    def drawn(seed: int | None) -> tuple[int, ...]:
        return answer(language, Request(ask("Go."), SamplingParams(12, temperature=1.5, seed=seed)))

    assert drawn(1) == drawn(1)
    assert len({drawn(1), drawn(2), drawn(2**64 - 1), drawn(None), drawn(None)}) == 5


def test_stop_strings_end_the_answer(language: LanguageHalf) -> None:
    free = Request(ask("Go on and on."), SamplingParams(max_tokens=40))
    text = "".join(event.text for event in events(RequestProcessor(language).start(free)))
    stop = next(c for c in text[6:] if c.isascii() and text.index(c) >= 2)
    ended = dataclasses.replace(free, sampling=SamplingParams(max_tokens=40, stop=(stop, "never")))
    found = events(RequestProcessor(language).start(ended))
    assert "".join(event.text for event in found) == text[: text.index(stop)]
    assert found[-1].result is not None
    assert found[-1].result.finish_reason == "stop"
    assert found[-1].result.completion_token_count < 40


def test_end_tokens_end_the_answer(language: LanguageHalf, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(ask("Go."), SamplingParams(max_tokens=10))
    tokens = answer(language, request)
    monkeypatch.setattr(language, "stop_ids", frozenset([tokens[4]]))
    first = tokens.index(tokens[4])
    generation = RequestProcessor(language).start(request)
    result = events(generation)[-1].result
    assert generation.tokens == tokens[:first]
    assert result is not None
    assert (result.finish_reason, result.completion_token_count) == ("stop", first)
    assert generation.step() is None


def test_context_is_checked_before_any_work(
    images: list[VisionTokens], language: LanguageHalf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "layer", lambda *_: pytest.fail("computed"))
    with pytest.raises(PromptTooLong, match=r"the prompt has \d+ tokens; allowed: at most 511"):
        RequestProcessor(language).start(Request(ask(images[0], "x" * 500)))


def test_answers_stop_at_the_end_of_the_context(language: LanguageHalf) -> None:
    template = language.tokenize(ask("x")).length - 1
    request = Request(ask("x" * (512 - 3 - template)), SamplingParams(max_tokens=100))
    result = events(RequestProcessor(language).start(request))[-1].result
    assert result is not None
    assert result.prompt_token_count == 509
    assert (result.finish_reason, result.completion_token_count) == ("length", 3)


def test_deadlines_are_kept_between_layers_and_steps(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    request = Request(two_images(images), SamplingParams(max_tokens=5))
    for allowed in (0, 1, 3, 6, 8):
        checks = iter(range(allowed))

        def check(checks: Iterator[int] = checks) -> None:
            if next(checks, None) is None:
                raise DeadlineExceeded("too late")

        generation = RequestProcessor(language).start(request, check)
        with pytest.raises(DeadlineExceeded):
            events(generation)
        assert generation.status is GenerationStatus.FINISHED
        assert generation.step() is None
        # One check before the first step and one a layer, then one a step.
        assert len(generation.tokens) == max(0, allowed - LAYERS)


def test_closing_ends_an_answer(language: LanguageHalf) -> None:
    generation = RequestProcessor(language).start(Request(ask("Go.")))
    generation.step()
    generation.close()
    assert generation.status is GenerationStatus.FINISHED
    assert generation.step() is None


def test_tokens_of_another_checkpoint_are_refused(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    stranger = dataclasses.replace(images[0].identity, projector_sha256="0" * 64)
    tokens = dataclasses.replace(images[0], identity=stranger)
    with pytest.raises(IdentityMismatch, match="differ in projector_sha256"):
        RequestProcessor(language).start(Request(ask(tokens, "What?")))


def test_bad_requests_are_refused_at_the_start(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    engine = RequestProcessor(language)
    with pytest.raises(InvalidInput, match="at least one message"):
        engine.start(Request(()))
    with pytest.raises(InvalidInput, match="no text"):
        engine.start(Request(ask(images[0])))
    with pytest.raises(InvalidSettings, match="4 shares, but the model has 5 layers"):
        engine.start(Request(ask(images[0], "?"), spu=SpuSettings(Keep((1.0, 1.0, 0.5, 0.0)))))
