"""Objects that move, come and go, and change over a series of images."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from .canvas import Canvas, Color, jitter
from .scenes import MAX_SIDE, MIN_SIDE, Thing, centre, label, painter
from .words import COLORS, SHAPES

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
Point = tuple[float, float]


@dataclass
class Actor:
    """One object in a series of `length` images.

    It goes straight from `start` to `end` (centres, in pixels), is there from image `enters` to the
    one before `leaves`, and is of colour and shape `becomes` from image `changes` on.
    """

    color: str
    shape: str
    length: int
    direction: str | None = None
    enters: int = 0
    leaves: int = 1000
    changes: int = 1000
    becomes: tuple[str, str] = ("", "")
    side: float = 0.0
    start: Point = (0.0, 0.0)
    end: Point = (0.0, 0.0)

    @property
    def name(self) -> str:
        """Its colour and shape before it changes."""
        return f"{self.color} {self.shape}"

    def at(self, index: int) -> Point:
        """Return where its centre is in an image, in pixels."""
        share = index / (self.length - 1)
        (x0, y0), (x1, y1) = self.start, self.end
        return x0 + share * (x1 - x0), y0 + share * (y1 - y0)

    def seen(self, index: int) -> Thing | None:
        """Return what it looks like in an image; None where it is not there."""
        if not self.enters <= index < self.leaves:
            return None
        color, shape = self.becomes if index >= self.changes else (self.color, self.shape)
        return Thing(color, shape, *self.at(index), self.side)


def cast(rng: random.Random, count: int, length: int, variety: int = 4) -> list[Actor]:
    """Make actors of different names, in at most `variety` colours and as many shapes.

    Args:
        rng: decides.
        count: of actors.
        length: of the series.
        variety: of colours, and of shapes.
    """
    colors, shapes = rng.sample(list(COLORS), variety), rng.sample(SHAPES, variety)
    names = rng.sample([(color, shape) for color in colors for shape in shapes], count)
    return [Actor(color, shape, length) for color, shape in names]


def distinct_cast(rng: random.Random, count: int, length: int) -> list[Actor]:
    """Make actors of which no two share a colour or a shape.

    Args:
        rng: decides.
        count: of actors.
        length: of the series.
    """
    colors, shapes = rng.sample(list(COLORS), count), rng.sample(SHAPES, count)
    return [Actor(c, s, length) for c, s in zip(colors, shapes, strict=True)]


def place(rng: random.Random, actors: Sequence[Actor], size: tuple[int, int]) -> list[Actor]:
    """Give each actor a side and a way that crosses no other one's.

    Args:
        rng: decides.
        actors: to be placed.
        size: of the images, in pixels.

    Returns:
        The actors, without those that found no way.
    """
    best: list[Actor] = []
    for _ in range(30):
        placed: list[Actor] = []
        # What moves needs most room.
        for actor in sorted(actors, key=lambda a: a.direction is None):
            if any(_put(rng, actor, size, placed) for _ in range(25)):
                placed.append(actor)
        if len(placed) > len(best):
            best = [Actor(**vars(actor)) for actor in placed]
        if len(best) == len(actors):
            break
    rng.shuffle(best)
    return best


def _put(rng: random.Random, actor: Actor, size: tuple[int, int], others: Sequence[Actor]) -> bool:
    shorter = min(size)
    actor.side = rng.uniform(max(MIN_SIDE, 0.2 * shorter), min(MAX_SIDE, max(56, 0.28 * shorter)))
    signs, travel = DIRECTIONS.get(actor.direction or "", (0, 0)), rng.uniform(0.3, 0.5)
    ways = [_way(rng, actor.side / 2 + 2, e, s * travel) for s, e in zip(signs, size, strict=True)]
    (x0, x1), (y0, y1) = ways
    actor.start, actor.end = (x0, y0), (x1, y1)
    return all(
        math.dist(actor.at(index), other.at(index)) > 0.54 * (actor.side + other.side)
        for other in others
        for index in range(actor.length)
    )


def _way(rng: random.Random, margin: float, edge: int, travel: float) -> tuple[float, float]:
    """Choose from where to where along one edge an actor goes.

    `travel` is a share of the edge; negative goes back.
    """
    low, high = margin, edge - margin
    if not travel:
        start = centre(rng, low, high)
        return start, start
    way = max(low - high, min(high - low, travel * edge))
    start = rng.uniform(low - min(0.0, way), high - max(0.0, way))
    return start, start + way


def draw(canvases: Sequence[Canvas], actors: Sequence[Actor], dark: bool) -> None:
    """Paint and label every actor in every image; each keeps its own look throughout.

    Args:
        canvases: one for each image.
        actors: placed.
        dark: whether the background is.
    """
    rng = canvases[0].rng
    for actor in actors:
        edge: Color | None = rng.choice((None, None, (240, 240, 240) if dark else (25, 25, 25)))
        degrees, tint = rng.uniform(-12, 12), rng.getrandbits(32)
        for index, canvas in enumerate(canvases):
            thing = actor.seen(index)
            if thing is not None:
                fill = jitter(COLORS[thing.color], random.Random(tint))
                label(canvas, thing)
                canvas.draw(painter(thing, fill, edge, degrees))
