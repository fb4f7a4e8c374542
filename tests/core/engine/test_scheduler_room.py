"""Room for keys and values: who is let in, and what is held."""

import pytest

from luvc_core.chat import SamplingParams
from luvc_core.compression.settings import Keep, SpuSettings
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.engine.scheduler import Limits, Scheduler
from luvc_core.errors import InvalidInput
from luvc_core.models.base import LanguageHalf
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.checkpoints import ask, two_images
from tests.support.scheduling import KV, mixed_requests


def test_requests_wait_for_room_and_come_in_order(
    language: LanguageHalf, images: list[VisionTokens]
) -> None:
    engine = RequestProcessor(language)
    request = Request(ask(images[0], "What?"), SamplingParams(max_tokens=6))
    generations = [engine.start(request) for _ in range(5)]
    scheduler = Scheduler(Limits(2 * generations[0].kv_byte_count))
    for generation in generations:
        scheduler.submit(generation)
    most, ended = 0, []
    while not scheduler.idle:
        ended += [o.generation for o in scheduler.step() if o.event and o.event.result]
        most = max(most, scheduler.in_flight_count)
    assert most == 2
    assert ended == generations
    assert scheduler.kv_budget.peak == scheduler.kv_budget.byte_count


def test_pruning_lets_more_requests_in_flight(
    language: LanguageHalf, images: list[VisionTokens]
) -> None:
    engine = RequestProcessor(language)
    in_flight = []
    for spu in (None, SpuSettings(Keep((1.0, 0.0, 0.0, 0.0, 0.0)))):
        scheduler = Scheduler(Limits(KV // 2, prefill_rows=10**6))
        for _ in range(40):
            scheduler.submit(
                engine.start(Request(two_images(images), SamplingParams(max_tokens=2), spu))
            )
        scheduler.step()
        in_flight.append(scheduler.in_flight_count)
    assert in_flight[1] > in_flight[0]


def test_caches_hold_exactly_what_was_reserved(
    language: LanguageHalf, images: list[VisionTokens]
) -> None:
    for request in mixed_requests(images):
        generation = RequestProcessor(language).start(request)
        caches, held = generation.caches, 0
        while generation.step() is not None:
            held = sum(cache.held_byte_count for cache in caches)
        assert 0 < held == generation.kv_byte_count


def test_a_request_that_never_fits_is_refused(
    language: LanguageHalf, images: list[VisionTokens]
) -> None:
    generation = RequestProcessor(language).start(Request(two_images(images)))
    scheduler = Scheduler(Limits(generation.kv_byte_count - 1))
    with pytest.raises(InvalidInput, match=r"need .* MiB of keys and values; allowed: at most"):
        scheduler.submit(generation)
    assert scheduler.idle
