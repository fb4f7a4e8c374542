"""The embedded checkpoints, through the product's own halves: equal to stock, and right."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

import pytest
import torch

from benchmarks.checkpoint import Checkpoint
from benchmarks.tasks.files import ALL_KINDS, Asked, file_questions
from luvc_core.chat import Message
from luvc_core.models.resolve import embedded
from luvc_core.profiles import PROFILES
from luvc_core.tokens import VisionTokens
from tests.families import KITS, Kit

FAMILIES = {
    "luvc-tiny-qwen2vl": "qwen2_vl",
    "luvc-tiny-internvl": "internvl",
    "luvc-tiny-llava-ov": "llava_onevision",
}
OFF = PROFILES["off"].oim
KINDS = tuple(ALL_KINDS)
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
    """The checkpoint as transformers runs it."""
    return kit.stock.from_pretrained(embedded()[model], dtype=torch.float32).eval()


def mixed(n: int) -> Iterator[tuple[str, Asked]]:
    """`n` held-out questions, all kinds in turn."""
    streams = {kind: file_questions(kind, -(-n // len(KINDS))) for kind in KINDS}
    for kind in islice(cycle(streams), n):
        yield kind, next(streams[kind])


@pytest.fixture(scope="module")
def answer_of_stock(asker: Checkpoint, kit: Kit, stock: Any) -> Callable[[Asked], str]:
    def answer(asked: Asked) -> str:
        patches = asker.prepare(asked.files)
        tokens = asker.encoder.encode(patches, OFF)
        language = asker.engine.language
        content: tuple[str | VisionTokens, ...] = (*tokens, asked.question)
        ids = language.tokenize((Message("user", content),)).ids
        inputs = kit.stock_inputs(stock, ids, patches)
        whole = stock.generate(**inputs, max_new_tokens=16, do_sample=False)
        return language.text_of(whole[0, len(ids) :].tolist()).strip()

    return answer


def test_every_checkpoint_is_tested() -> None:
    assert FAMILIES.keys() == embedded().keys()


def test_vision_tokens_equal_stock(asker: Checkpoint, kit: Kit, stock: Any) -> None:
    for _, asked in mixed(len(KINDS)):
        patches = asker.prepare(asked.files)
        with torch.inference_mode():
            of_kind = kit.stock_clip_tokens if patches[0].clip else kit.stock_tokens
            expected = of_kind(stock, patches)
        for tokens, wanted in zip(asker.encoder.encode(patches, OFF), expected, strict=True):
            torch.testing.assert_close(tokens.embeddings, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_greedy_answers_equal_stock_generate(
    asker: Checkpoint, answer_of_stock: Callable[[Asked], str]
) -> None:
    for _, asked in mixed(3 * len(KINDS)):
        tokens = asker.encode(asked.files, OFF)
        assert asker.ask(tokens, asked.question, None).text == answer_of_stock(asked)


@pytest.mark.slow
def test_lossless_keeps_the_answers(asker: Checkpoint) -> None:
    right: dict[str, Counter[str]] = {"off": Counter(), "lossless": Counter()}
    all_asked: Counter[str] = Counter()
    assert PROFILES["lossless"].oim == OFF  # so one encoding serves both
    for kind, asked in mixed(10 * len(KINDS)):
        all_asked[kind] += 1
        tokens = asker.encode(asked.files, OFF)
        for profile, counter in right.items():
            spu = PROFILES[profile].spu_for(own.detail for own in tokens)
            answer = asker.ask(tokens, asked.question, spu)
            counter[kind] += answer.text == asked.answer
            if profile == "lossless":
                assert answer.result.layer_visual_token_counts[-1] == 0
    assert right["lossless"].total() >= 0.97 * right["off"].total()
    assert right["off"].total() >= MEAN_FLOOR * all_asked.total()
    low = {k: right["off"][k] / n for k, n in all_asked.items() if right["off"][k] < KIND_FLOOR * n}
    assert not low, f"accuracy below the floor: {low}"
