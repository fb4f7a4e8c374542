"""The embedded checkpoint, through the product's own halves: equal to stock, and right."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import luvc_core.checkpoints
from benchmarks.accuracy import Asker
from benchmarks.tasks import KINDS, questions
from benchmarks.train.evaluate import StockModel
from luvc_core.profiles import PROFILES

MODEL = "luvc-tiny-qwen2vl"
FOLDER = Path(luvc_core.checkpoints.__path__[0]) / MODEL
# What `make bench-accuracy` shows on 500 questions a kind, less what 20 may stray.
FLOORS = {
    "presence": 0.85,
    "colour": 0.85,
    "shape": 0.85,
    "count": 0.70,
    "relation": 0.85,
    "chart": 0.75,
    "document": 0.75,
}


@pytest.fixture(scope="module")
def asker() -> Asker:
    return Asker(MODEL)


def mixed(n: int) -> Iterator[tuple[str, Image.Image, str, str]]:
    """`n` held-out questions, all kinds in turn: (kind, picture, question, answer)."""
    streams = {kind: questions(kind, -(-n // len(KINDS))) for kind in KINDS}
    for i in range(n):
        kind = list(KINDS)[i % len(KINDS)]
        yield kind, *next(streams[kind])


def test_vision_tokens_equal_stock(asker: Asker) -> None:
    stock = StockModel(FOLDER)
    for _, image, _, _ in mixed(14):
        pixels = stock.processor([image], return_tensors="pt")
        with torch.inference_mode():
            expected = stock.model.model.visual(
                pixels["pixel_values"], grid_thw=pixels["image_grid_thw"]
            ).pooler_output
        tokens = asker.encode(image, PROFILES["off"].oim)
        torch.testing.assert_close(tokens.embeddings, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_100_greedy_answers_equal_stock_generate(asker: Asker) -> None:
    stock = StockModel(FOLDER)
    for _, image, question, _ in mixed(100):
        tokens = asker.encode(image, PROFILES["off"].oim)
        assert asker.ask(tokens, question, None)[0] == stock.answer([image], [question])[0]


@pytest.mark.slow
def test_lossless_keeps_the_answers(asker: Asker) -> None:
    right: dict[str, Counter[str]] = {"off": Counter(), "lossless": Counter()}
    asked: Counter[str] = Counter()
    assert PROFILES["lossless"].oim == PROFILES["off"].oim  # so one encoding serves both
    for kind, image, question, truth in mixed(20 * len(KINDS)):
        asked[kind] += 1
        tokens = asker.encode(image, PROFILES["off"].oim)
        for profile, counter in right.items():
            answer, result = asker.ask(tokens, question, PROFILES[profile].spu)
            counter[kind] += answer == truth
            if profile == "lossless":
                assert result.layer_visual_token_counts[-1] == 0
    assert right["lossless"].total() >= 0.97 * right["off"].total()
    low = {k: right["off"][k] / n for k, n in asked.items() if right["off"][k] < FLOORS[k] * n}
    assert not low, f"accuracy below the floor: {low}"
