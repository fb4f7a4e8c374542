"""Rendered tasks: pictures with questions, answers and dense labels, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from PIL import Image

from . import charts, documents, scenes
from .base import CELL, QA, Label, Sample, Size, as_size
from .canvas import Canvas, Paint

__all__ = [
    "CELL", "KINDS", "QA", "SPLITS", "TASKS", "Label", "Sample", "make_sample", "questions",
]  # fmt: skip

SPLITS: dict[str, range] = {
    "test": range(0, 1_000_000),
    "validation": range(1_000_000, 2_000_000),
    "train": range(2_000_000, 1 << 40),
}
"""Seeds of each split; they share none."""

TASKS: dict[str, Callable[[Canvas], tuple[Paint, list[QA]]]] = {
    "scene": scenes.layout,
    "chart": charts.layout,
    "document": documents.layout,
}

KINDS: dict[str, str] = {
    "presence": "scene",
    "colour": "scene",
    "shape": "scene",
    "count": "scene",
    "relation": "scene",
    "chart": "chart",
    "document": "document",
}
"""Kind of question -> the task whose pictures it is asked about."""


def make_sample(task: str, seed: int, size: Size = 448, *, draw: bool = True) -> Sample:
    """The sample of `task` that belongs to `seed`; the same on every machine.

    `draw=False` leaves `image` None and costs no painting; all else is unchanged.
    """
    pixels = as_size(size)
    canvas = Canvas(pixels, random.Random(f"{task}/{seed}/{pixels[0]}x{pixels[1]}"))
    background, asked = TASKS[task](canvas)
    image = canvas.paint(background, seed) if draw else None
    return Sample(image, pixels, tuple(asked), tuple(sorted(canvas.labels)))


def questions(
    kind: str, n: int, split: str = "test", size: Size = 448
) -> Iterator[tuple[Image.Image, str, str]]:
    """`n` triples (picture, question, answer) of a kind, one from a picture, in seed order."""
    found = 0
    for seed in SPLITS[split]:
        if found == n:
            return
        sample = make_sample(KINDS[kind], seed, size, draw=False)
        asked = next((qa for qa in sample.questions if qa.kind == kind), None)
        if asked is not None:
            image = make_sample(KINDS[kind], seed, size).image
            assert image is not None
            found += 1
            yield image, asked.question, asked.answer
