"""Small documents: a title and rows of `key: value` in several styles."""

from __future__ import annotations

import random
from typing import NamedTuple

from .base import CELL, QA
from .canvas import (
    ADVANCE,
    VALUE_FONTS,
    WORD_FONTS,
    Canvas,
    Color,
    Paint,
    load_font,
    random_background,
)
from .words import (
    CITIES,
    CITY_KEYS,
    CODE_KEYS,
    CODE_LETTERS,
    DIGITS,
    DOCUMENT_TITLES,
    KEYS,
    NAME_KEYS,
    NAMES,
)


class Style(NamedTuple):
    """What the rows of one document share; lengths in pixels.

    Attributes:
        numbers: share of the values that could be numbers which are numbers, not codes.
    """

    key_font: str
    key_pixels: int
    value_font: str
    value_pixels: int
    ink: Color
    colon: bool
    right: bool
    rule: str
    numbers: float


def codes(canvas: Canvas) -> tuple[Paint, list[QA]]:
    """Lay out a document with many letters in codes, which are rare in others."""
    return layout(canvas, numbers=0.3)


def layout(canvas: Canvas, numbers: float = 1.0) -> tuple[Paint, list[QA]]:
    """Draw a title and 2-7 rows; return the background and the questions. numbers: as in Style."""
    rng = canvas.rng
    background, dark = random_background(rng, dark_share=0.1)
    ink = (238, 238, 238) if dark else rng.choice(((15, 15, 15), (40, 30, 90), (70, 30, 20)))
    style = Style(
        rng.choice(WORD_FONTS), rng.randint(17, 20), rng.choice(VALUE_FONTS), rng.randint(21, 24),
        ink, rng.random() < 0.7, rng.random() < 0.4,
        rng.choice(("none", "none", "lines", "boxes", "dots")), numbers,
    )  # fmt: skip
    title = rng.choice(DOCUMENT_TITLES)
    big = load_font(rng.choice(WORD_FONTS), rng.randint(22, 27))
    x = canvas.column(rng.uniform(8, canvas.width - 16 - big.getlength(title)))
    canvas.word(x, canvas.middle(CELL / 2), title, big, ink, title.lower())
    top = CELL * rng.choice((1, 1, 2))
    if rng.random() < 0.4:
        canvas.line((10, top + 2, canvas.width - 10, top + 2), ink, rng.randint(1, 3))
    rows = _rows(canvas, style, top)
    return background, questions(rng, title, rows)


def _rows(canvas: Canvas, style: Style, top: int) -> list[tuple[str, str]]:
    rng = canvas.rng
    lines = (canvas.height - top) // CELL
    step = rng.choice((1, 2, 2)) if lines >= 8 else 1
    count = rng.randint(min(4, lines // step), min(7, lines // step))
    first = rng.randint(0, lines - step * count)
    key_font = load_font(style.key_font, style.key_pixels)
    keys = rng.sample(KEYS, count)
    left = rng.uniform(8, 8 + 0.12 * canvas.width)
    column = left + max(key_font.getlength(k) for k in keys) + 18
    spare = canvas.width - 12 - column - 5.2 * ADVANCE
    column += rng.uniform(0, max(0.0, spare))
    edge = canvas.width - rng.uniform(8, 12)
    rows = []
    for place, key in enumerate(keys):
        value, y = random_value(rng, key, style.numbers), top + (first + place * step) * CELL
        middle = canvas.middle(y)
        _row(canvas, style, (left, middle, column if not style.right else -edge), (key, value))
        if style.rule == "lines":
            canvas.line((left, y + CELL * step - 1, edge, y + CELL * step - 1), style.ink)
        elif style.rule == "boxes":
            canvas.rectangle((left - 8, y, edge, y + CELL), None, (140, 140, 140))
        rows.append((key, value))
    return rows


def _row(
    canvas: Canvas, style: Style, at: tuple[float, float, float], row: tuple[str, str]
) -> None:
    """Print one row.

    Args:
        canvas: where.
        style: of the document.
        at: key's x, middle, value's x; the last is negative for a right edge.
        row: key and value.
    """
    (left, middle, value_x), (key, value) = at, row
    key_font = load_font(style.key_font, style.key_pixels)
    value_font = load_font(style.value_font, style.value_pixels)
    end = canvas.word(canvas.column(left), middle, key, key_font, style.ink, key.lower())
    if style.colon:
        end = canvas.word(end + 1, middle, ":", key_font, style.ink)
    coded = key not in NAME_KEYS and key not in CITY_KEYS
    wide = ADVANCE * len(value) if coded else value_font.getlength(value)
    x = canvas.column(value_x if value_x > 0 else -value_x - wide - 5)
    if coded:
        canvas.characters(x, middle, value, value_font, style.ink, key.lower(), "value")
    else:
        atoms = (value.lower(), key.lower(), "value")
        canvas.word(x, middle, value, value_font, style.ink, *atoms)
    if style.rule == "dots" and x - end > 24:
        for dot_x in range(int(end) + 8, int(x) - 6, 8):
            canvas.rectangle((dot_x, middle + 6, dot_x + 1, middle + 7), style.ink)


def random_value(rng: random.Random, key: str, numbers: float) -> str:
    """Choose a name, a city, a code such as K7R2, or a number of 2-5 digits, as the key asks.

    Args:
        rng: decides.
        key: of the row.
        numbers: as in Style.
    """
    if key in NAME_KEYS:
        return rng.choice(NAMES)
    if key in CITY_KEYS:
        return rng.choice(CITIES)
    if key in CODE_KEYS or (numbers < 1 and rng.random() > numbers):
        return "".join(
            rng.choice(DIGITS if place % 2 else CODE_LETTERS)
            for place in range(rng.choice((2, 4, 4)))
        )
    return rng.choice(DIGITS[1:]) + "".join(rng.choices(DIGITS, k=rng.randint(1, 4)))


def questions(rng: random.Random, title: str, rows: list[tuple[str, str]]) -> list[QA]:
    """Ask one question for each row, and sometimes what kind of document it is.

    Args:
        rng: decides.
        title: of the document.
        rows: keys and values.
    """
    asked = []
    for key, value in rows:
        form = rng.choice(("What is the {}?", "What is written next to {}?", "What does {} say?"))
        asked.append(QA("document", form.format(key.lower()), value))
    if rng.random() < 0.5:
        form = rng.choice(("What kind of document is this?", "What document is this?"))
        asked.append(QA("document", form, title.lower()))
    rng.shuffle(asked)
    return asked
