"""Two images to compare: which has more of something, and what differs between them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .actors import Actor, distinct_cast, draw, place
from .base import QA
from .canvas import Canvas, Paint, random_background
from .words import COLORS, PLURALS, SHAPES

IMAGES = 2
WHICH = ("first", "second")


def layout(canvases: Sequence[Canvas]) -> tuple[list[Paint], list[QA]]:
    """Lay out two scenes, or one twice with a difference; return backgrounds and questions."""
    script = canvases[0].rng.choice((counts, difference))
    backgrounds, asked = script(canvases)
    canvases[0].rng.shuffle(asked)
    return backgrounds, asked


def counts(canvases: Sequence[Canvas]) -> tuple[list[Paint], list[QA]]:
    """Lay out two scenes in the same few colours and shapes, and ask which has more."""
    rng, size = canvases[0].rng, (canvases[0].width, canvases[0].height)
    colors, shapes = rng.sample(list(COLORS), 3), rng.sample(SHAPES, 3)
    backgrounds: list[Paint] = []
    scenes: list[list[Actor]] = []
    for canvas in canvases:
        background, dark = random_background(rng, dark_share=0.35)
        number = rng.randint(1, 4)
        things = [Actor(rng.choice(colors), rng.choice(shapes), IMAGES) for _ in range(number)]
        if scenes and rng.random() < 0.5:
            twin = rng.choice(scenes[0])
            things[0] = Actor(twin.color, twin.shape, IMAGES)
        scenes.append(place(rng, things, size))
        draw([canvas], scenes[-1], dark)
        backgrounds.append(background)
    totals = {"objects": [len(scene) for scene in scenes]}
    for color in colors:
        totals[f"{color} objects"] = [sum(a.color == color for a in scene) for scene in scenes]
    for shape in shapes:
        totals[PLURALS[shape]] = [sum(a.shape == shape for a in scene) for scene in scenes]
    unequal = [(what, pair) for what, pair in totals.items() if pair[0] != pair[1]]
    asked = []
    for what, (one, two) in rng.sample(unequal, min(3, len(unequal))):
        more, fewer = WHICH if one > two else WHICH[::-1]
        if rng.random() < 0.5:
            asked.append(QA("more", f"Which picture has more {what}?", more))
        else:
            asked.append(QA("more", f"Which picture has fewer {what}?", fewer))
    return backgrounds, asked + _in_which(rng, scenes)


def _in_which(rng: random.Random, scenes: Sequence[Sequence[Actor]]) -> list[QA]:
    """Ask about what is in one image only, and about what is in both."""
    asked = []
    for attribute, form in (("name", "{}"), ("shape", "{}"), ("color", "{} object")):
        one, two = ({getattr(actor, attribute) for actor in scene} for scene in scenes)
        for found, answer in ((one - two, "first"), (two - one, "second")):
            if found and rng.random() < 0.5:
                what = form.format(rng.choice(sorted(found)))
                asked.append(QA("more", f"Which picture has {_article(what)} {what}?", answer))
        answer = rng.choice(("yes", "no"))
        found = one & two if answer == "yes" else one ^ two
        if found:
            what = form.format(rng.choice(sorted(found)))
            asked.append(QA("more", f"Is there {_article(what)} {what} in both pictures?", answer))
    return asked


def _article(what: str) -> str:
    return "an" if what[0] == "o" else "a"


def difference(canvases: Sequence[Canvas]) -> tuple[list[Paint], list[QA]]:
    """Lay out the same scene twice; in the second one an object is another, gone or new."""
    rng, size = canvases[0].rng, (canvases[0].width, canvases[0].height)
    background, dark = random_background(rng, dark_share=0.35)
    actors = place(rng, distinct_cast(rng, rng.randint(2, 4), IMAGES), size)
    asked = _differ(rng, actors, rng.choice(("color", "shape", "gone", "new")))
    draw(canvases, actors, dark)
    return [background, background], asked


def _differ(rng: random.Random, actors: Sequence[Actor], what: str) -> list[QA]:
    one = actors[0]
    if what in ("gone", "new"):
        if what == "gone":
            one.leaves = 1
        else:
            one.enters = 1
        return [
            QA("difference", f"Which shape is {what} in the second picture?", one.shape),
            QA("difference", f"What color is {what} in the second picture?", one.color),
        ]
    one.changes = 1
    if what == "color":
        free = [color for color in COLORS if color not in {a.color for a in actors}]
        one.becomes = (rng.choice(free), one.shape)
        own, states = one.shape, (one.color, one.becomes[0])
        asked = [QA("difference", "Which shape has a different color?", own)]
    else:
        free = [shape for shape in SHAPES if shape not in {a.shape for a in actors}]
        one.becomes = (one.color, rng.choice(free))
        own, states = f"{one.color} object", (one.shape, one.becomes[1])
        asked = [QA("difference", "Which color has a different shape?", one.color)]
    for which, state in zip(WHICH, states, strict=True):
        asked.append(QA("difference", f"What {what} is the {own} in the {which} picture?", state))
    return asked
