"""Videos of coloured shapes: what moves where, what comes or goes first, what changes.

No single frame answers. What happens at once happens between the pairs of frames that Qwen2-VL
looks at as one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from .actors import DIRECTIONS, Actor, cast, distinct_cast, draw, place
from .base import QA
from .canvas import Canvas, Paint, random_background
from .words import COLORS, SHAPES

FRAMES = 8
MOMENTS = (2, 4, 6)
"""Frames at which things appear, go and change."""


def layout(canvases: Sequence[Canvas]) -> tuple[list[Paint], list[QA]]:
    """Play one of three scripts; return each frame's background and the questions."""
    rng = canvases[0].rng
    background, dark = random_background(rng, dark_share=0.35)
    script = rng.choice((movement, order, change))
    actors, asked = script(rng, (canvases[0].width, canvases[0].height))
    draw(canvases, actors, dark)
    rng.shuffle(asked)
    return [background] * len(canvases), asked


def movement(rng: random.Random, size: tuple[int, int]) -> tuple[list[Actor], list[QA]]:
    """Move some objects, each its own way; the others stand still."""
    actors = cast(rng, rng.randint(2, 4), FRAMES)
    ways = rng.sample(list(DIRECTIONS), rng.randint(1, min(3, len(actors))))
    for actor, way in zip(actors, ways, strict=False):
        actor.direction = way
    actors = place(rng, actors, size)
    movers = [actor for actor in actors if actor.direction is not None]
    asked = []
    for actor in movers:
        way = str(actor.direction)
        either = "left or right" if way in ("left", "right") else "up or down"
        asked += [
            QA("movement", f"What direction is the {actor.name} moving?", way),
            QA("movement", f"Is the {actor.name} moving {either}?", way),
        ]
    mover = rng.choice(movers)
    asked.append(
        rng.choice(
            (
                QA("movement", f"Which shape is moving {mover.direction}?", mover.shape),
                QA("movement", f"What color is the object moving {mover.direction}?", mover.color),
            )
        )
    )
    return actors, asked


def order(rng: random.Random, size: tuple[int, int]) -> tuple[list[Actor], list[QA]]:
    """Let all objects appear, or go, one after the other."""
    coming = rng.random() < 0.5
    count = rng.randint(2, 4)
    actors = place(rng, distinct_cast(rng, count, FRAMES), size)
    if coming:
        # One of them is there from the start.
        moments = sorted(rng.sample((0, *MOMENTS), len(actors)))
        for actor, moment in zip(actors, moments, strict=True):
            actor.enters = moment
    else:
        # And one of them stays to the end.
        moments = sorted(rng.sample(MOMENTS, len(actors) - 1))
        for actor, moment in zip(actors, moments, strict=False):
            actor.leaves = moment
    actor, does = actors[0], "appears first"
    if not coming:
        actor, does = actors[-1], "stays to the last frame"
    asked = [
        QA("order", f"Which shape {does}?", actor.shape),
        QA("order", f"What color {does}?", actor.color),
    ]
    state = "there" if coming else "gone"
    for _ in range(2):
        one, two = rng.sample(range(len(actors)), 2)
        about = f"Is the {actors[one].name} {state} before the {actors[two].name}?"
        asked.append(QA("order", about, "yes" if one < two else "no"))
    shown = list(actors)
    rng.shuffle(shown)
    return shown, asked


def change(rng: random.Random, size: tuple[int, int]) -> tuple[list[Actor], list[QA]]:
    """Change the colour or the shape of one object; others may move."""
    actors = distinct_cast(rng, rng.randint(2, 3), FRAMES)
    for actor in actors:
        if rng.random() < 0.25:
            actor.direction = rng.choice(list(DIRECTIONS))
    actors = place(rng, actors, size)
    one, others = actors[0], actors[1:]
    one.changes = rng.choice(MOMENTS)
    if rng.random() < 0.5:
        free = [color for color in COLORS if color not in {a.color for a in actors}]
        one.becomes = (rng.choice(free), one.shape)
        what, before, after, own = "color", one.color, one.becomes[0], one.shape
        asked = [QA("change", "Which shape changes color?", own)]
        named = [f"the {actor.shape}" for actor in (one, *others)]
    else:
        free = [shape for shape in SHAPES if shape not in {a.shape for a in actors}]
        one.becomes = (one.color, rng.choice(free))
        what, before, after, own = "shape", one.shape, one.becomes[1], f"{one.color} object"
        asked = [QA("change", "Which color changes shape?", one.color)]
        named = [f"the {actor.color} object" for actor in (one, *others)]
    asked += [
        QA("change", f"What {what} is the {own} before the change?", before),
        QA("change", f"What {what} is the {own} after the change?", after),
        QA("change", f"Does {named[0]} change {what}?", "yes"),
    ]
    if others:
        asked.append(QA("change", f"Does {rng.choice(named[1:])} change {what}?", "no"))
    return actors, asked
