"""Continuous batching: who gets what when, and that nobody's answer shows who else was there."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luvc_core.chat import Sampling
from luvc_core.config import Keep, OimSettings, Ramp, SpuSettings
from luvc_core.engine.engine import Engine, Request, Session
from luvc_core.engine.scheduler import Limits, Outcome, Scheduler
from luvc_core.errors import DeadlineExceeded, InvalidInput
from luvc_core.models.base import LanguageHalf
from luvc_core.models.registry import load_language, load_vision
from luvc_core.tokens import VisionTokens
from tests.fixtures import ask, noise_picture, two_pictures, write_checkpoint

LAYERS = 5
KV = 1 << 20
SPUS = (
    None,
    SpuSettings(Ramp(start=0.0)),
    SpuSettings(Keep((0.5, 0.4, 0.2, 0.1, 0.0)), sampling="index"),
    SpuSettings(Ramp(start=0.4, shape="step")),
)
TEXT_MODELS = {"M-RoPE": ("qwen2_vl", "qwen2"), "qwen2": ("internvl", "qwen2"),
               "llama": ("llava", "llama")}  # fmt: skip
slow_examples = settings(
    deadline=None,
    derandomize=True,
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module", params=TEXT_MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family, text = TEXT_MODELS[request.param]
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), family, text=text)


@pytest.fixture(scope="module")
def language(folder: Path) -> LanguageHalf:
    return load_language(str(folder), "cpu", "float32")


@pytest.fixture(scope="module")
def pictures(folder: Path) -> list[VisionTokens]:
    vision = load_vision(str(folder), "cpu", "float32")
    images = [noise_picture(112, 84, 1), noise_picture(60, 140, 2)]
    return vision.encode([vision.preprocess(image) for image in images], OimSettings())


@pytest.fixture(scope="module")
def requests(pictures: list[VisionTokens]) -> list[Request]:
    """Text alone, a picture, and two, each with every schedule and answers of different length."""
    talks = (ask("Say something."), ask(pictures[0], "What?"), two_pictures(pictures))
    return [
        Request(talk, Sampling(max_tokens=3 + 2 * i, temperature=float(i == 2), seed=i), spu)
        for spu in SPUS
        for i, talk in enumerate(talks)
    ]


@pytest.fixture(scope="module")
def alone(language: LanguageHalf, requests: list[Request]) -> list[tuple[int, ...]]:
    """The tokens of each, served alone, one after the other."""
    found = []
    for request in requests:
        session = Engine(language).start(request)
        for _ in iter(session.step, None):
            pass
        found.append(session.tokens)
    return found


def finish(scheduler: Scheduler) -> list[Outcome]:
    steps = itertools.takewhile(lambda _: not scheduler.idle, itertools.count())
    return [outcome for _ in steps for outcome in scheduler.step()]


@slow_examples
@given(data=st.data())
def test_tokens_are_those_of_requests_served_alone(
    data: st.DataObject,
    language: LanguageHalf,
    requests: list[Request],
    alone: list[tuple[int, ...]],
) -> None:
    """However they arrive, leave and share, whatever the budget and the room."""
    engine = Engine(language)
    room = data.draw(st.sampled_from((KV // 2, KV)), "room")
    scheduler = Scheduler(Limits(room, data.draw(st.sampled_from((1, 150, 10**6)), "budget")))
    order = data.draw(st.permutations(range(len(requests))), "order")
    cancelled = set(data.draw(st.lists(st.sampled_from(order), max_size=4), "cancelled"))
    sessions: dict[int, Session] = {}
    for number in order:
        sessions[number] = engine.start(requests[number])
        scheduler.submit(sessions[number])
        for _ in range(data.draw(st.integers(0, 3), "steps")):
            scheduler.step()
            held = sum(c.held_byte_count for s in sessions.values() for c in s.caches)
            assert held <= scheduler.pool.used <= room
        victim = data.draw(st.sampled_from(order), "victim")
        if victim in cancelled and victim in sessions:
            scheduler.cancel(sessions[victim])
    outcomes = finish(scheduler)
    assert all(outcome.error is None for outcome in outcomes)
    assert scheduler.pool.used == scheduler.in_flight_count == 0
    for number, session in sessions.items():
        assert session.ended
        whole = alone[number]
        got = session.tokens
        assert got == (whole[: len(got)] if number in cancelled else whole)


def test_logits_do_not_change_by_a_bit(
    language: LanguageHalf, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stronger than equal tokens: a batch of any size gives everyone the same logits."""
    seen: dict[int, list[torch.Tensor]] = {}

    def follow(session: Session, number: int) -> None:
        take = session.take

        def noting(logits: torch.Tensor) -> object:
            seen.setdefault(number, []).append(logits.clone())
            return take(logits)

        monkeypatch.setattr(session, "take", noting)

    engine = Engine(language)
    expected = []
    for number, request in enumerate(requests[:7]):
        session = engine.start(request)
        follow(session, number)
        for _ in iter(session.step, None):
            pass
    expected, seen = seen, {}
    scheduler = Scheduler(Limits(KV))
    for number, request in enumerate(requests[:7]):
        session = engine.start(request)
        follow(session, number)
        scheduler.submit(session)
    finish(scheduler)
    assert seen.keys() == expected.keys()
    for number, rows in seen.items():
        assert len(rows) == len(expected[number])
        assert all(map(torch.equal, rows, expected[number]))


def test_running_answers_get_a_token_every_step(
    language: LanguageHalf, pictures: list[VisionTokens]
) -> None:
    """A long prefill never makes one wait: a step computes at most its budget and one layer."""
    engine = Engine(language)
    scheduler = Scheduler(Limits(KV, prefill_rows=1))
    running = engine.start(Request(ask("Go on."), Sampling(max_tokens=30)))
    scheduler.submit(running)
    for _ in range(LAYERS):
        scheduler.step()
    late = engine.start(Request(two_pictures(pictures), Sampling(max_tokens=2)))
    scheduler.submit(late)
    for step in range(1, LAYERS + 1):
        before = len(running.tokens)
        scheduler.step()
        assert len(running.tokens) == before + 1
        assert bool(late.tokens) == (step == LAYERS)


def test_short_prompts_overtake_long_ones_which_still_get_half(
    language: LanguageHalf, pictures: list[VisionTokens]
) -> None:
    engine = Engine(language)
    scheduler = Scheduler(Limits(KV, prefill_rows=1))
    long = engine.start(Request(two_pictures(pictures), Sampling(max_tokens=1)))
    shorts = [engine.start(Request(ask("Hi"), Sampling(max_tokens=1))) for _ in range(20)]
    for session in (long, *shorts):
        scheduler.submit(session)
    ended = [outcome.session for outcome in finish(scheduler) if outcome.event]
    assert 0 < ended.index(long) < 20


def test_requests_wait_for_room_and_come_in_order(
    language: LanguageHalf, pictures: list[VisionTokens]
) -> None:
    engine = Engine(language)
    request = Request(ask(pictures[0], "What?"), Sampling(max_tokens=6))
    sessions = [engine.start(request) for _ in range(5)]
    scheduler = Scheduler(Limits(2 * sessions[0].kv_byte_count))
    for session in sessions:
        scheduler.submit(session)
    most, ended = 0, []
    while not scheduler.idle:
        ended += [o.session for o in scheduler.step() if o.event and o.event.result]
        most = max(most, scheduler.in_flight_count)
    assert most == 2
    assert ended == sessions
    assert scheduler.pool.peak == scheduler.pool.byte_count


def test_pruning_lets_more_requests_in_flight(
    language: LanguageHalf, pictures: list[VisionTokens]
) -> None:
    engine = Engine(language)
    in_flight = []
    for spu in (None, SpuSettings(Keep((1.0, 0.0, 0.0, 0.0, 0.0)))):
        scheduler = Scheduler(Limits(KV // 2, prefill_rows=10**6))
        for _ in range(40):
            scheduler.submit(
                engine.start(Request(two_pictures(pictures), Sampling(max_tokens=2), spu))
            )
        scheduler.step()
        in_flight.append(scheduler.in_flight_count)
    assert in_flight[1] > in_flight[0]


def test_caches_hold_exactly_what_was_reserved(
    language: LanguageHalf, requests: list[Request]
) -> None:
    for request in requests:
        session = Engine(language).start(request)
        caches, held = session.caches, 0
        while session.step() is not None:
            held = sum(cache.held_byte_count for cache in caches)
        assert 0 < held == session.kv_byte_count


def test_a_request_that_never_fits_is_refused(
    language: LanguageHalf, pictures: list[VisionTokens]
) -> None:
    session = Engine(language).start(Request(two_pictures(pictures)))
    scheduler = Scheduler(Limits(session.kv_byte_count - 1))
    with pytest.raises(InvalidInput, match=r"need .* MiB of keys and values; allowed: at most"):
        scheduler.submit(session)
    assert scheduler.idle


def started(
    language: LanguageHalf, *requests: Request, prefill_rows: int = 1
) -> tuple[Scheduler, list[Session]]:
    scheduler = Scheduler(Limits(KV, prefill_rows))
    sessions = [Engine(language).start(request) for request in requests]
    for session in sessions:
        scheduler.submit(session)
    return scheduler, sessions


@pytest.mark.parametrize("steps", [0, 2, LAYERS + 2], ids=["waiting", "in prefill", "running"])
def test_cancelling_frees_the_place_at_once(language: LanguageHalf, steps: int) -> None:
    scheduler, (session,) = started(language, Request(ask("Go."), Sampling(max_tokens=20)))
    for _ in range(steps):
        scheduler.step()
    assert scheduler.in_flight_count == (steps > 0)
    scheduler.cancel(session)
    assert (scheduler.idle, scheduler.pool.used, session.caches) == (True, 0, [])
    scheduler.cancel(session)
    assert scheduler.step() == []


@pytest.mark.parametrize("allowed", [0, 3, LAYERS, LAYERS + 3])
def test_what_a_check_raises_ends_that_answer_only(language: LanguageHalf, allowed: int) -> None:
    checks = iter(range(allowed))

    def check() -> None:
        if next(checks, None) is None:
            raise DeadlineExceeded("too late")

    request = Request(ask("Go."), Sampling(max_tokens=9))
    undisturbed = Engine(language).start(request)
    for _ in iter(undisturbed.step, None):
        pass
    scheduler, (other,) = started(language, request)
    late = Engine(language).start(Request(ask("Go on."), Sampling(max_tokens=9)), check)
    scheduler.submit(late)
    outcomes = finish(scheduler)
    assert [o.session for o in outcomes if o.error] == [late]
    assert late.ended
    assert other.tokens == undisturbed.tokens
    assert scheduler.pool.used == 0


def test_a_step_that_fails_ends_those_in_it(
    language: LanguageHalf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    scheduler, sessions = started(language, *[Request(ask("Go."))] * 2, prefill_rows=10**6)
    scheduler.step()
    assert [len(session.tokens) for session in sessions] == [1, 1]
    with monkeypatch.context() as patch:
        patch.setattr(language, "decode_layer", fail)
        outcomes = scheduler.step()
    assert [type(o.error) for o in outcomes] == [MemoryError] * 2
    assert (scheduler.idle, scheduler.pool.used) == (True, 0)
