"""Rendered tasks: images, videos and pairs with questions, answers and dense labels, from a seed.

A task renders one image (`TASKS`, `make_sample`, `questions`) or several that belong together
(`SERIES`, `make_series`, `series_questions`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from . import charts, documents, pairs, scenes, videos
from .base import CELL, QA, Label, Sample, Series, Size, as_size
from .canvas import Canvas, Paint

__all__ = [
    "CELL", "KINDS", "QA", "SERIES", "SERIES_KINDS", "SPLITS", "TASKS", "Label", "Sample", "Series",
    "make_sample", "make_series", "questions", "series_questions",
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
    "codes": documents.codes,
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
"""Kind of question -> the task whose images it is asked about."""

SERIES: dict[str, tuple[int, Callable[[Sequence[Canvas]], tuple[list[Paint], list[QA]]]]] = {
    "clip": (videos.FRAMES, videos.layout),
    "pair": (pairs.IMAGES, pairs.layout),
}
"""How many images a series of each task has, and what lays them out."""

SERIES_KINDS: dict[str, str] = {
    "movement": "clip",
    "order": "clip",
    "change": "clip",
    "more": "pair",
    "difference": "pair",
}
"""Kind of question -> the task whose series it is asked about."""


def make_sample(task: str, seed: int, size: Size = 448, *, draw: bool = True) -> Sample:
    """Render the sample of `task` that belongs to `seed`; the same on every machine.

    Args:
        task: one of TASKS.
        seed: of everything in it.
        size: pixels.
        draw: False leaves `image` None and costs no painting; all else is unchanged.
    """
    pixels = as_size(size)
    canvas = Canvas(pixels, random.Random(f"{task}/{seed}/{pixels[0]}x{pixels[1]}"))
    background, asked = TASKS[task](canvas)
    image = canvas.paint(background, seed) if draw else None
    return Sample(image, pixels, tuple(asked), tuple(sorted(canvas.labels)))


def questions(
    kind: str, n: int, split: str = "test", size: Size = 448
) -> Iterator[tuple[Image.Image, str, str]]:
    """Yield `n` triples (image, question, answer) of a kind, one for each image, in seed order.

    Args:
        kind: one of KINDS.
        n: how many.
        split: which seeds.
        size: pixels.
    """
    for seed, qa in _asked(make_sample, KINDS[kind], kind, n, split, size):
        image = make_sample(KINDS[kind], seed, size).image
        assert image is not None
        yield image, qa.question, qa.answer


def _asked(
    make: Callable[..., Sample | Series], task: str, kind: str, n: int, split: str, size: Size
) -> Iterator[tuple[int, QA]]:
    """Yield the first `n` seeds whose sample or series asks a question of a kind, and that one."""
    found = 0
    for seed in SPLITS[split]:
        if found == n:
            return
        drawn = make(task, seed, size, draw=False)
        qa = next((qa for qa in drawn.questions if qa.kind == kind), None)
        if qa is not None:
            found += 1
            yield seed, qa


def make_series(task: str, seed: int, size: Size = 224, *, draw: bool = True) -> Series:
    """Render the series of `task` that belongs to `seed`, all images of one size.

    The frames of a video share their flaws (blur, noise); the images of a pair do not.

    Args:
        task: one of SERIES.
        seed: of everything in it.
        size: pixels of each image.
        draw: False leaves out the images and costs no painting; all else is unchanged.
    """
    pixels = as_size(size)
    rng = random.Random(f"{task}/{seed}/{pixels[0]}x{pixels[1]}")
    count, layout = SERIES[task]
    canvases = [Canvas(pixels, rng) for _ in range(count)]
    backgrounds, asked = layout(canvases)
    frames = []
    for index, (canvas, background) in enumerate(zip(canvases, backgrounds, strict=True)):
        flaws = seed if task == "clip" else seed * count + index
        image = canvas.paint(background, flaws) if draw else None
        frames.append(Sample(image, pixels, (), tuple(sorted(canvas.labels))))
    return Series(tuple(frames), tuple(asked))


def series_questions(
    kind: str, n: int, split: str = "test", size: Size = 224
) -> Iterator[tuple[tuple[Image.Image, ...], str, str]]:
    """Yield `n` triples (images, question, answer) of a kind, one for each series, in seed order.

    Args:
        kind: one of SERIES_KINDS.
        n: how many.
        split: which seeds.
        size: pixels.
    """
    for seed, qa in _asked(make_series, SERIES_KINDS[kind], kind, n, split, size):
        yield make_series(SERIES_KINDS[kind], seed, size).images, qa.question, qa.answer
