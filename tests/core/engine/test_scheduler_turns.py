"""Continuous batching: who gets what when."""

from luvc_core.chat import SamplingParams
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.engine.scheduler import Limits, Scheduler
from luvc_core.models.base import LanguageHalf
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.checkpoints import ask, two_images
from tests.support.scheduling import KV, LAYERS, finish


def test_running_answers_get_a_token_every_step(
    language: LanguageHalf, images: list[VisionTokens]
) -> None:
    """A long prefill never makes one wait: a step computes at most its budget and one layer."""
    engine = RequestProcessor(language)
    scheduler = Scheduler(Limits(KV, prefill_rows=1))
    running = engine.start(Request(ask("Go on."), SamplingParams(max_tokens=30)))
    scheduler.submit(running)
    for _ in range(LAYERS):
        scheduler.step()
    late = engine.start(Request(two_images(images), SamplingParams(max_tokens=2)))
    scheduler.submit(late)
    for step in range(1, LAYERS + 1):
        before = len(running.tokens)
        scheduler.step()
        assert len(running.tokens) == before + 1
        assert bool(late.tokens) == (step == LAYERS)


def test_short_prompts_overtake_long_ones_which_still_get_half(
    language: LanguageHalf, images: list[VisionTokens]
) -> None:
    engine = RequestProcessor(language)
    scheduler = Scheduler(Limits(KV, prefill_rows=1))
    long = engine.start(Request(two_images(images), SamplingParams(max_tokens=1)))
    shorts = [engine.start(Request(ask("Hi"), SamplingParams(max_tokens=1))) for _ in range(20)]
    for generation in (long, *shorts):
        scheduler.submit(generation)
    ended = [outcome.generation for outcome in finish(scheduler) if outcome.event]
    assert 0 < ended.index(long) < 20
