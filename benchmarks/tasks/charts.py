"""Bar charts, upright or lying, with the value printed at each bar."""

from __future__ import annotations

import random
from typing import NamedTuple

from .base import CELL, QA
from .canvas import (
    ADVANCE,
    VALUE_FONTS,
    WORD_FONTS,
    Box,
    Canvas,
    Color,
    Paint,
    jitter,
    load_font,
    random_background,
)
from .words import CATEGORY_GROUPS, CHART_TITLES, COLORS


class Bar(NamedTuple):
    """One bar: what it is called, its colour's name, its value."""

    category: str
    color: str
    value: int
    rank: str | None


class Style(NamedTuple):
    """What one chart's bars share; `area` is the box that bars and values use, in pixels."""

    area: Box
    value_font: str
    value_pixels: int
    word_font: str
    ink: Color
    share: float


def layout(canvas: Canvas) -> tuple[Paint, list[QA]]:
    """Draw 3-6 bars with axis, names and values; return the background and the questions."""
    rng = canvas.rng
    background, dark = random_background(rng, dark_share=0.15)
    upright = rng.random() < 0.55
    along = canvas.width if upright else canvas.height - 40
    bars = pick_bars(rng, max(3, min(6, along // (68 if upright else 46))))
    ink = (235, 235, 235) if dark else rng.choice(((20, 20, 20), (60, 40, 30), (30, 40, 80)))
    top = 10.0
    if rng.random() < 0.6:
        title, font = (
            rng.choice(CHART_TITLES),
            load_font(rng.choice(WORD_FONTS), rng.randint(18, 24)),
        )
        x = canvas.column(rng.uniform(10, canvas.width * 0.6))
        canvas.word(x, canvas.middle(CELL / 2), title, font, ink, title.lower())
        top = CELL + 4.0
    area = (rng.uniform(8, 20), top, canvas.width - rng.uniform(8, 20), canvas.height - 8.0)
    style = Style(area, rng.choice(VALUE_FONTS), rng.randint(21, 24), rng.choice(WORD_FONTS), ink,
                  rng.uniform(0.5, 0.8))  # fmt: skip
    (_draw_upright if upright else _draw_lying)(canvas, bars, style)
    return background, questions(rng, bars)


def pick_bars(rng: random.Random, most: int) -> list[Bar]:
    """Choose three to `most` bars; the extremes stand clear of the others by at least 8 %."""
    count = rng.randint(3, most)
    names = rng.sample(rng.choice(CATEGORY_GROUPS), count)
    palette = rng.sample(list(COLORS), count)
    if rng.random() < 0.25:
        palette = [palette[0]] * count
    ceiling = rng.choice((20, 60, 99, 99, 400, 999))
    while True:
        values = [rng.randint(max(2, ceiling // 10), ceiling) for _ in range(count)]
        low, *_, high = order = sorted(values)
        if order[-2] <= high * 0.92 and order[1] >= low * 1.08:
            break
    ranks = {high: "largest", low: "smallest"}
    return [Bar(n, c, v, ranks.get(v)) for n, c, v in zip(names, palette, values, strict=True)]


def _draw_bar(canvas: Canvas, bar: Bar, box: Box, ink: Color) -> None:
    atoms = [bar.category.lower(), bar.color, *([bar.rank] if bar.rank else [])]
    outline = ink if canvas.rng.random() < 0.3 else None
    canvas.rectangle(box, jitter(COLORS[bar.color], canvas.rng), outline)
    canvas.label_box(box, *atoms)


def _draw_value(canvas: Canvas, bar: Bar, x: float, middle: float, style: Style) -> None:
    atoms = [bar.category.lower(), bar.color, "value", *([bar.rank] if bar.rank else [])]
    font = load_font(style.value_font, style.value_pixels)
    canvas.characters(x, middle, str(bar.value), font, style.ink, *atoms)
    canvas.label(x + ADVANCE / 2, middle, "bar")


def _draw_upright(canvas: Canvas, bars: list[Bar], style: Style) -> None:
    rng, (x0, y0, x1, _) = canvas.rng, style.area
    pitch, floor = (x1 - x0) / len(bars), canvas.height - CELL - rng.uniform(0, 3)
    ceiling = (y0 // CELL + 1) * CELL + rng.uniform(6, 24)
    _grid(canvas, (x0, ceiling, x1, floor), True)
    canvas.line((x0, floor, x1, floor), style.ink, rng.randint(1, 3))
    highest, pixels = max(b.value for b in bars), rng.randint(16, 19)
    font = load_font(style.word_font, pixels)
    for place, bar in enumerate(bars):
        center, half = x0 + (place + 0.5) * pitch, pitch * style.share / 2
        tip = min(floor - 3, floor - (floor - ceiling) * bar.value / highest)
        _draw_bar(canvas, bar, (center - half, tip, center + half, floor), style.ink)
        left = canvas.column(center - ADVANCE * len(str(bar.value)) / 2)
        _draw_value(canvas, bar, left, canvas.middle(tip - CELL + 4), style)
        left = canvas.column(center - font.getlength(bar.category) / 2)
        middle = canvas.middle(canvas.height - 1)
        canvas.word(left, middle, bar.category, font, style.ink, bar.category.lower())


def _draw_lying(canvas: Canvas, bars: list[Bar], style: Style) -> None:
    rng, (x0, y0, x1, y1) = canvas.rng, style.area
    font = load_font(style.word_font, rng.randint(16, 20))
    start = x0 + max(font.getlength(b.category) for b in bars) + 14
    room = ADVANCE * (max(len(str(b.value)) for b in bars) + 1)
    pitch, highest = (y1 - y0) / len(bars), max(b.value for b in bars)
    _grid(canvas, (start, y0, x1 - room, y1), False)
    canvas.line((start, y0, start, y1), style.ink, rng.randint(1, 3))
    for place, bar in enumerate(bars):
        middle, half = y0 + (place + 0.5) * pitch, min(pitch * style.share, 60) / 2
        middle = canvas.middle(middle)
        tip = start + max(3.0, (x1 - room - start) * bar.value / highest)
        _draw_bar(canvas, bar, (start, middle - half, tip, middle + half), style.ink)
        _draw_value(canvas, bar, canvas.column(tip + 11), middle, style)
        left = canvas.column(start - 12 - font.getlength(bar.category))
        canvas.word(left, middle, bar.category, font, style.ink, bar.category.lower())


def _grid(canvas: Canvas, box: Box, upright: bool) -> None:
    if canvas.rng.random() < 0.5:
        return
    x0, y0, x1, y1 = box
    for step in range(1, canvas.rng.randint(3, 6)):
        at = step / 5
        y, x = y0 + (y1 - y0) * at, x0 + (x1 - x0) * at
        canvas.line((x0, y, x1, y) if upright else (x, y0, x, y1), (150, 150, 150))


def questions(rng: random.Random, bars: list[Bar]) -> list[QA]:
    """Ask about nine questions: values, extremes, colours and the number of bars."""
    asked: list[QA] = []
    for bar in rng.sample(bars, min(4, len(bars))):
        form = rng.choice(("What is the value of {}?", "What value does {} have?"))
        asked.append(QA("chart", form.format(bar.category), str(bar.value)))
    for bar in bars:
        if bar.rank is not None:
            form = rng.choice(("Which category is the {}?", "Which bar is the {}?",
                               "Which category has the {} value?"))  # fmt: skip
            asked.append(QA("chart", form.format(bar.rank), bar.category))
    for bar in rng.sample(bars, 2):
        form = rng.choice(("What color is the bar of {}?", "What is the colour of {}?"))
        asked.append(QA("chart", form.format(bar.category), bar.color))
    form = rng.choice(("How many bars are there?", "How many bars does the chart show?"))
    asked.append(QA("chart", form, str(len(bars))))
    rng.shuffle(asked)
    return asked
