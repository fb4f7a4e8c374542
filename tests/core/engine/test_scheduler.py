"""Continuous batching: nobody's answer shows who else was there."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luvc_core.compression.settings import OimSettings
from luvc_core.engine.generation import Generation, GenerationStatus
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.engine.scheduler import Limits, Scheduler
from luvc_core.models.base import LanguageHalf
from luvc_core.models.registry import load_language, load_vision
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.checkpoints import noise_image, write_checkpoint
from tests.support.scheduling import KV, finish, mixed_requests

pytestmark = pytest.mark.transformers

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
def images(folder: Path) -> list[VisionTokens]:
    vision = load_vision(str(folder), "cpu", "float32")
    images = [noise_image(112, 84, 1), noise_image(60, 140, 2)]
    return vision.encode([vision.preprocess(image) for image in images], OimSettings())


@pytest.fixture(scope="module")
def requests(images: list[VisionTokens]) -> list[Request]:
    return mixed_requests(images)


@pytest.fixture(scope="module")
def alone(language: LanguageHalf, requests: list[Request]) -> list[tuple[int, ...]]:
    """Return the tokens of each request, served alone, one after the other."""
    found = []
    for request in requests:
        generation = RequestProcessor(language).start(request)
        for _ in iter(generation.step, None):
            pass
        found.append(generation.tokens)
    return found


@slow_examples
@given(data=st.data())
def test_tokens_are_those_of_requests_served_alone(
    data: st.DataObject,
    language: LanguageHalf,
    requests: list[Request],
    alone: list[tuple[int, ...]],
) -> None:
    """However they arrive, leave and share, whatever the budget and the room."""
    engine = RequestProcessor(language)
    room = data.draw(st.sampled_from((KV // 2, KV)), "room")
    scheduler = Scheduler(Limits(room, data.draw(st.sampled_from((1, 150, 10**6)), "budget")))
    order = data.draw(st.permutations(range(len(requests))), "order")
    cancelled = set(data.draw(st.lists(st.sampled_from(order), max_size=4), "cancelled"))
    generations: dict[int, Generation] = {}
    for number in order:
        generations[number] = engine.start(requests[number])
        scheduler.submit(generations[number])
        for _ in range(data.draw(st.integers(0, 3), "steps")):
            scheduler.step()
            held = sum(c.held_byte_count for s in generations.values() for c in s.caches)
            assert held <= scheduler.kv_budget.used <= room
        victim = data.draw(st.sampled_from(order), "victim")
        if victim in cancelled and victim in generations:
            scheduler.cancel(generations[victim])
    outcomes = finish(scheduler)
    assert all(outcome.error is None for outcome in outcomes)
    assert scheduler.kv_budget.used == scheduler.in_flight_count == 0
    for number, generation in generations.items():
        assert generation.status is GenerationStatus.FINISHED
        whole = alone[number]
        got = generation.tokens
        assert got == (whole[: len(got)] if number in cancelled else whole)


def test_logits_do_not_change_by_a_bit(
    language: LanguageHalf, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stronger than equal tokens: a batch of any size gives everyone the same logits."""
    seen: dict[int, list[torch.Tensor]] = {}

    def follow(generation: Generation, number: int) -> None:
        sample_next = generation.sample_next

        def noting(logits: torch.Tensor) -> object:
            seen.setdefault(number, []).append(logits.clone())
            return sample_next(logits)

        monkeypatch.setattr(generation, "sample_next", noting)

    engine = RequestProcessor(language)
    expected = []
    for number, request in enumerate(requests[:7]):
        generation = engine.start(request)
        follow(generation, number)
        for _ in iter(generation.step, None):
            pass
    expected, seen = seen, {}
    scheduler = Scheduler(Limits(KV))
    for number, request in enumerate(requests[:7]):
        generation = engine.start(request)
        follow(generation, number)
        scheduler.submit(generation)
    finish(scheduler)
    assert seen.keys() == expected.keys()
    for number, rows in seen.items():
        assert len(rows) == len(expected[number])
        assert all(map(torch.equal, rows, expected[number]))
