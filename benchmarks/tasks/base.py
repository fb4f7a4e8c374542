"""Define a rendered sample: images, questions about them, and what is true in each cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

CELL = 28
"""Pixels on a side of the square one visual token covers (patch 14, merge 2)."""

Size = int | tuple[int, int]
"""Pixels: a square's side, or (width, height); multiples of `CELL`."""


class QA(NamedTuple):
    """One question with its only accepted answer."""

    kind: str
    question: str
    answer: str


class Label(NamedTuple):
    """The statement that `atom` is true in the cell at (`row`, `col`).

    Atoms: a lower-case word; `0:7` or `1:7`, the character 7 at an even or odd place of its string;
    `#2`, some character of the cell stands at place 2.
    """

    row: int
    col: int
    atom: str


@dataclass(frozen=True)
class Sample:
    """A rendered image (RGB; None where drawing was skipped), questions, and dense labels."""

    image: Image.Image | None
    size: tuple[int, int]
    questions: tuple[QA, ...]
    labels: tuple[Label, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of visual tokens."""
        return self.size[1] // CELL, self.size[0] // CELL


@dataclass(frozen=True)
class Series:
    """Images that are asked about together: the frames of a video in order, or two to compare.

    Each one is a sample of its own, with its labels and no questions.
    """

    frames: tuple[Sample, ...]
    questions: tuple[QA, ...]

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The images; none where drawing was skipped."""
        return tuple(frame.image for frame in self.frames if frame.image is not None)


def as_size(size: Size) -> tuple[int, int]:
    """Return width and height in pixels.

    Raises:
        ValueError: unless both are multiples of `CELL` and large enough.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if width % CELL or height % CELL or width < 8 * CELL or height < 4 * CELL:
        raise ValueError(f"size must be multiples of {CELL} and at least 224 x 112, got {size}")
    return width, height
