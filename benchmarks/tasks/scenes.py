"""Scenes of coloured shapes: presence, colour, shape, count and relation."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from PIL import Image, ImageDraw

from .base import CELL, QA
from .canvas import Canvas, Color, Paint, jitter, random_background
from .words import COLORS, PLURALS, SHAPES

MIN_SIDE, MAX_SIDE = 45, 110


class Thing(NamedTuple):
    """One object; centre and side in pixels."""

    color: str
    shape: str
    x: float
    y: float
    side: float

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"


def layout(canvas: Canvas) -> tuple[Paint, list[QA]]:
    """Place 2-5 objects; return the background and the questions."""
    rng = canvas.rng
    background, dark = random_background(rng, dark_share=0.35)
    things = place(canvas)
    for thing in things:
        label(canvas, thing)
        fill = jitter(COLORS[thing.color], rng)
        edge = rng.choice((None, None, (240, 240, 240) if dark else (25, 25, 25)))
        canvas.draw(painter(thing, fill, edge, rng.uniform(-12, 12)))
    return background, questions(rng, things)


def place(canvas: Canvas) -> list[Thing]:
    """Place objects in few colours and shapes, so that questions need both; few overlap."""
    rng, width, height = canvas.rng, canvas.width, canvas.height
    most = max(2, min(5, round(5 * width * height / 448**2)))
    colors = rng.sample(list(COLORS), rng.randint(2, 5))
    shapes = rng.sample(SHAPES, rng.randint(2, 5))
    wanted = rng.randint(2 if most > 2 else 1, most)
    things: list[Thing] = []
    largest = min(MAX_SIDE, 0.4 * min(width, height))
    for _ in range(wanted * 12):
        side = rng.uniform(MIN_SIDE, largest)
        x, y = (centre(rng, side / 2 + 2, edge - side / 2 - 2) for edge in (width, height))
        thing = Thing(rng.choice(colors), rng.choice(shapes), x, y, side)
        clear = 1.0 if rng.random() < 0.85 else 0.85
        if all(math.hypot(t.x - x, t.y - y) > clear * (t.side + side) / 2 for t in things):
            things.append(thing)
        if len(things) == wanted:
            break
    return things


def centre(rng: random.Random, low: float, high: float) -> float:
    """Choose a point off the cells' borders, so that it is clear which cell an object is in.

    Args:
        rng: decides.
        low: the least, in pixels.
        high: the most, in pixels.
    """
    cell = rng.randint(math.ceil(low / CELL - 0.2), math.floor(high / CELL - 0.8))
    return min(max((cell + rng.uniform(0.2, 0.8)) * CELL, low), high)


def label(canvas: Canvas, thing: Thing) -> None:
    """Say what the object is in the cells it fills, and mark the cell of its centre."""
    reach = 0.46 * thing.side
    for row in range(int((thing.y - reach) // CELL), int((thing.y + reach) // CELL) + 1):
        for col in range(int((thing.x - reach) // CELL), int((thing.x + reach) // CELL) + 1):
            points = [
                ((col + u) * CELL, (row + v) * CELL)
                for u in (0.17, 0.5, 0.83)
                for v in (0.17, 0.5, 0.83)
            ]
            inside = sum(math.hypot(x - thing.x, y - thing.y) < reach for x, y in points)
            if inside >= 4:
                canvas.label((col + 0.5) * CELL, (row + 0.5) * CELL, thing.color, thing.shape)
    canvas.label(thing.x, thing.y, thing.color, thing.shape, "object")


def _outline(shape: str) -> list[tuple[float, float]]:
    """Return the shape's polygon in the square from -1 to 1."""
    if shape == "square":
        return [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)]
    if shape == "triangle":
        return [(0, -0.95), (0.95, 0.8), (-0.95, 0.8)]
    if shape == "diamond":
        return [(0, -1), (0.68, 0), (0, 1), (-0.68, 0)]
    if shape == "cross":
        a = 0.32
        quarter = [(a, -0.95), (a, -a), (0.95, -a)]
        turns = [quarter]
        for _ in range(3):
            turns.append([(-y, x) for x, y in turns[-1]])
        return [point for turn in turns for point in turn]
    if shape == "star":
        spokes = [(1.0 if i % 2 == 0 else 0.42, math.pi * i / 5) for i in range(10)]
        return [(r * math.sin(t), -r * math.cos(t)) for r, t in spokes]
    if shape == "heart":
        turn = [math.tau * i / 40 for i in range(40)]
        wave = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) for t in turn]
        return [(math.sin(t) ** 3, -(w + 2) / 15) for t, w in zip(turn, wave, strict=True)]
    reach = 0.72 if shape == "ring" else 0.95
    return [(reach * math.cos(math.tau * i / 48), reach * math.sin(math.tau * i / 48))
            for i in range(48)]  # fmt: skip


def painter(thing: Thing, fill: Color, edge: Color | None, degrees: float) -> Paint:
    """Return what paints the object.

    Args:
        thing: the object.
        fill: its colour.
        edge: its outline's colour; None for none.
        degrees: that it is turned clockwise.
    """

    def paint(image: Image.Image) -> None:
        scale, turn = 3, math.radians(degrees)
        span = int(thing.side) + 6
        tile = Image.new("RGBA", (span * scale, span * scale), (*fill, 0))
        pen, radius = ImageDraw.Draw(tile), thing.side * scale / 2
        points = [
            (span * scale / 2 + radius * (x * math.cos(turn) - y * math.sin(turn)),
             span * scale / 2 + radius * (x * math.sin(turn) + y * math.cos(turn)))
            for x, y in _outline(thing.shape)
        ]  # fmt: skip
        if thing.shape == "ring":
            pen.line([*points, *points[:2]], (*fill, 255), round(radius * 0.42), joint="curve")
        else:
            pen.polygon(points, (*fill, 255))
            if edge is not None:
                pen.line([*points, *points[:2]], (*edge, 255), 2 * scale, joint="curve")
        tile = tile.resize((span, span), Image.Resampling.BOX)
        image.paste(tile, (round(thing.x - span / 2), round(thing.y - span / 2)), tile)

    return paint


def questions(rng: random.Random, things: list[Thing]) -> list[QA]:
    """Ask about a dozen questions over all kinds; none of a kind where the scene allows none."""
    asked = [_presence(rng, things, i % 2 == 0) for i in range(4)]
    asked += [_count(rng, things) for _ in range(3)]
    for kind, own, other in (("color", 0, 1), ("shape", 1, 0)):
        keys = [t[other] for t in things]
        unique = [t for t in things if keys.count(t[other]) == 1]
        for thing in rng.sample(unique, min(2, len(unique))):
            asked.append(_attribute(rng, kind, thing, own))
    names = [t.name for t in things]
    unique = [t for t in things if names.count(t.name) == 1]
    asked += [q for _ in range(4) if (q := _relation(rng, unique)) is not None]
    rng.shuffle(asked)
    return asked


def _presence(rng: random.Random, things: list[Thing], yes: bool) -> QA:
    about = rng.choice(("name", "name", "name", "shape", "color"))
    here = {"name": {t.name for t in things}, "shape": {t.shape for t in things},
            "color": {t.color for t in things}}[about]  # fmt: skip
    if about == "name":
        near = [f"{a.color} {b.shape}" for a in things for b in things]
        far = [f"{rng.choice(list(COLORS))} {rng.choice(SHAPES)}" for _ in range(3)]
        absent = sorted({n for n in (near if rng.random() < 0.7 else far) if n not in here})
        absent = absent or [n for n in far if n not in here]
    else:
        absent = [w for w in (SHAPES if about == "shape" else COLORS) if w not in here]
    yes = yes or not absent
    what = rng.choice(sorted(here)) if yes else rng.choice(absent)
    what = f"{what} object" if about == "color" else what
    article = "an" if what[0] == "o" else "a"
    form = rng.choice(("Is there {} in the picture?", "Is there {}?", "Do you see {}?"))
    return QA("presence", form.format(f"{article} {what}"), "yes" if yes else "no")


def _attribute(rng: random.Random, kind: str, thing: Thing, own: int) -> QA:
    named = thing.shape if kind == "color" else f"{thing.color} object"
    word = rng.choice(("color", "colour")) if kind == "color" else "shape"
    form = rng.choice(("What {} is the {}?", "What is the {} of the {}?"))
    return QA("colour" if kind == "color" else "shape", form.format(word, named), str(thing[own]))


def _count(rng: random.Random, things: list[Thing]) -> QA:
    about = rng.choice(("all", "color", "color", "shape", "shape"))
    if about == "all":
        what, number = "objects", len(things)
    elif about == "color":
        word = rng.choice(things).color if rng.random() < 0.9 else rng.choice(list(COLORS))
        what, number = f"{word} objects", sum(t.color == word for t in things)
    else:
        word = rng.choice(things).shape if rng.random() < 0.9 else rng.choice(SHAPES)
        what, number = PLURALS[word], sum(t.shape == word for t in things)
    form = rng.choice(("How many {} are there?", "How many {} are in the picture?"))
    return QA("count", form.format(what), str(number))


def _relation(rng: random.Random, unique: list[Thing]) -> QA | None:
    if len(unique) < 2:
        return None
    one, two = rng.sample(unique, 2)
    level = rng.random() < 0.5
    gap = one.x - two.x if level else one.y - two.y
    if abs(gap) < 50:
        return None
    words = ("left", "right") if level else ("above", "below")
    truth = words[0] if gap < 0 else words[1]
    if rng.random() < 0.5:
        either = f"{words[0]} or {words[1]}" + (" of" if level else "")
        return QA("relation", f"Is the {one.name} {either} the {two.name}?", truth)
    said = rng.choice(words)
    link = f"to the {said} of" if level else said
    answer = "yes" if said == truth else "no"
    return QA("relation", f"Is the {one.name} {link} the {two.name}?", answer)
