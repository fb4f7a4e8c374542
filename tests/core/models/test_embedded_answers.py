"""The embedded checkpoints, through the product's own halves: equal to stock, and right."""

from collections import Counter
from itertools import chain, cycle
from typing import Any, NamedTuple

import pytest
import torch

from benchmarks.common.checkpoint import Checkpoint
from benchmarks.tasks.question_files import ALL_KINDS, Asked, file_questions
from luvc_core.chat import Message
from luvc_core.compression.profiles import PROFILES
from luvc_core.models.checkpoint.resolve import embedded_checkpoints
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.families import KITS, Kit

pytestmark = pytest.mark.transformers

FAMILIES = {
    "luvc-tiny-qwen2vl": "qwen2_vl",
    "luvc-tiny-internvl": "internvl",
    "luvc-tiny-llava-ov": "llava_onevision",
}
OFF = PROFILES["off"].oim
KINDS = tuple(ALL_KINDS)
EACH = 10
# What `make bench-accuracy` shows on 500 questions a kind, less what ten may stray.
MEAN_FLOOR, KIND_FLOOR = 0.9, 0.7


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def kit(model: str) -> Kit:
    return KITS[FAMILIES[model]]


@pytest.fixture(scope="module")
def asker(model: str) -> Checkpoint:
    return Checkpoint.load(model)


@pytest.fixture(scope="module")
def stock(model: str, kit: Kit) -> Any:
    """Load the checkpoint as transformers runs it."""
    return kit.stock.from_pretrained(embedded_checkpoints()[model], dtype=torch.float32).eval()


class Case(NamedTuple):
    """A held-out question, what is shown with it, and the answer that sees all visual tokens."""

    kind: str
    asked: Asked
    tokens: list[VisionTokens]
    answer: str


@pytest.fixture(scope="module")
def cases(asker: Checkpoint) -> list[Case]:
    """Make some cases of each kind, all kinds in turn."""
    streams = zip(*(file_questions(kind, EACH) for kind in KINDS), strict=True)
    found = []
    for kind, asked in zip(cycle(KINDS), chain.from_iterable(streams), strict=False):
        tokens = asker.encode(asked.files, OFF)
        answer = asker.ask(tokens, asked.question, None).text
        found.append(Case(kind, asked, tokens, answer))
    return found


def test_every_checkpoint_is_tested() -> None:
    assert FAMILIES.keys() == embedded_checkpoints().keys()


def test_vision_tokens_equal_stock(
    asker: Checkpoint, kit: Kit, stock: Any, cases: list[Case]
) -> None:
    for case in cases[: len(KINDS)]:
        patches = asker.prepare(case.asked.files)
        with torch.inference_mode():
            of_kind = kit.stock_video_tokens if patches[0].video else kit.stock_tokens
            expected = of_kind(stock, patches)
        for tokens, wanted in zip(case.tokens, expected, strict=True):
            torch.testing.assert_close(tokens.embeddings, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_greedy_answers_equal_stock_generate(
    asker: Checkpoint, kit: Kit, stock: Any, cases: list[Case]
) -> None:
    language = asker.engine.language
    for case in cases[: 3 * len(KINDS)]:
        content: tuple[str | VisionTokens, ...] = (*case.tokens, case.asked.question)
        ids = language.tokenize((Message("user", content),)).ids
        inputs = kit.stock_inputs(stock, ids, asker.prepare(case.asked.files))
        whole = stock.generate(**inputs, max_new_tokens=16, do_sample=False)
        assert case.answer == language.text_of(whole[0, len(ids) :].tolist()).strip()


@pytest.mark.slow
def test_lossless_keeps_the_answers(asker: Checkpoint, cases: list[Case]) -> None:
    right: dict[str, Counter[str]] = {"off": Counter(), "lossless": Counter()}
    assert PROFILES["lossless"].oim == OFF  # so one encoding serves both
    for kind, asked, tokens, without_pruning in cases:
        right["off"][kind] += without_pruning == asked.answer
        spu = PROFILES["lossless"].spu_for(own.detail for own in tokens)
        answer = asker.ask(tokens, asked.question, spu)
        right["lossless"][kind] += answer.text == asked.answer
        assert answer.result.layer_visual_token_counts[-1] == 0
    assert right["lossless"].total() >= 0.97 * right["off"].total()
    assert right["off"].total() >= MEAN_FLOOR * len(cases)
    low = {kind: n / EACH for kind, n in right["off"].items() if n < KIND_FLOOR * EACH}
    assert not low, f"accuracy below the floor: {low}"
