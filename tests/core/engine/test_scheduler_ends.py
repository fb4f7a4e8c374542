"""Answers that end early: cancelled, refused by a check, or with a step that fails."""

import pytest

from luvc_core.chat import SamplingParams
from luvc_core.engine.generation import GenerationStatus
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.errors import DeadlineExceeded
from luvc_core.models.base import LanguageHalf
from tests.support.checkpoints import ask
from tests.support.scheduling import LAYERS, finish, started


@pytest.mark.parametrize("steps", [0, 2, LAYERS + 2], ids=["waiting", "in prefill", "running"])
def test_cancelling_frees_the_place_at_once(language: LanguageHalf, steps: int) -> None:
    scheduler, (generation,) = started(language, Request(ask("Go."), SamplingParams(max_tokens=20)))
    for _ in range(steps):
        scheduler.step()
    assert scheduler.in_flight_count == (steps > 0)
    scheduler.cancel(generation)
    assert (scheduler.idle, scheduler.kv_budget.used, generation.caches) == (True, 0, [])
    scheduler.cancel(generation)
    assert scheduler.step() == []


@pytest.mark.parametrize("allowed", [0, 3, LAYERS, LAYERS + 3])
def test_what_a_check_raises_ends_that_answer_only(language: LanguageHalf, allowed: int) -> None:
    checks = iter(range(allowed))

    def check() -> None:
        if next(checks, None) is None:
            raise DeadlineExceeded("too late")

    request = Request(ask("Go."), SamplingParams(max_tokens=9))
    undisturbed = RequestProcessor(language).start(request)
    for _ in iter(undisturbed.step, None):
        pass
    scheduler, (other,) = started(language, request)
    late = RequestProcessor(language).start(
        Request(ask("Go on."), SamplingParams(max_tokens=9)), check
    )
    scheduler.submit(late)
    outcomes = finish(scheduler)
    assert [o.generation for o in outcomes if o.error] == [late]
    assert late.status is GenerationStatus.FINISHED
    assert other.tokens == undisturbed.tokens
    assert scheduler.kv_budget.used == 0


def test_a_step_that_fails_ends_those_in_it(
    language: LanguageHalf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    scheduler, generations = started(language, *[Request(ask("Go."))] * 2, prefill_rows=10**6)
    scheduler.step()
    assert [len(generation.tokens) for generation in generations] == [1, 1]
    with monkeypatch.context() as patch:
        patch.setattr(language, "decode_layer", fail)
        outcomes = scheduler.step()
    assert [type(o.error) for o in outcomes] == [MemoryError] * 2
    assert (scheduler.idle, scheduler.kv_budget.used) == (True, 0)
