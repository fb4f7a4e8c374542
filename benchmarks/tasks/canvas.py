"""A page that records what is drawn where, and is painted last.

Layout and labels come from `rng` alone; painting is deferred, so labels cost no pixels.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from .base import CELL, Label

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]
Paint = Callable[[Image.Image], None]

VALUE_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif",
    "DejaVuSerif-Bold",
)  # fmt: skip
WORD_FONTS = (*VALUE_FONTS, "STIXGeneralBol")
ADVANCE = 14
"""Pixels from one character of a value to the next: one patch."""

JITTER = 3.0
"""Pixels that text strays from the grid of patches. Small towers read text on a grid far sooner."""

_FONT_DIR = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@lru_cache(maxsize=256)
def load_font(name: str, pixels: int) -> ImageFont.FreeTypeFont:
    """Load a font that matplotlib ships, so that every machine renders the same."""
    return ImageFont.truetype(
        str(_FONT_DIR / f"{name}.ttf"), pixels, layout_engine=ImageFont.Layout.BASIC
    )


class Canvas:
    """Collects labels at once and paint operations for later; `paint` may be called once."""

    def __init__(self, size: tuple[int, int], rng: random.Random) -> None:
        self.width, self.height = size
        self.rng = rng
        self.labels: set[Label] = set()
        self._paints: list[Paint] = []

    def label(self, x: float, y: float, *atoms: str) -> None:
        """Say that atoms are true in the cell that holds a point.

        Args:
            x: in pixels.
            y: in pixels.
            atoms: what is true.
        """
        row, col = int(y // CELL), int(x // CELL)
        if 0 <= row < self.height // CELL and 0 <= col < self.width // CELL:
            self.labels.update(Label(row, col, atom) for atom in atoms)

    def label_box(self, box: Box, *atoms: str) -> None:
        """Label the cells of which the box takes a fair part (8 px across, 40 % of its height)."""
        x0, y0, x1, y1 = box
        need_x, need_y = min(8.0, 0.5 * (x1 - x0)), min(14.0, 0.4 * (y1 - y0))
        for row in range(int(y0 // CELL), int(y1 // CELL) + 1):
            for col in range(int(x0 // CELL), int(x1 // CELL) + 1):
                over_x = min(x1, (col + 1) * CELL) - max(x0, col * CELL)
                over_y = min(y1, (row + 1) * CELL) - max(y0, row * CELL)
                if over_x >= need_x and over_y >= need_y:
                    self.label((col + 0.5) * CELL, (row + 0.5) * CELL, *atoms)

    def draw(self, paint: Paint) -> None:
        """Paint later."""
        self._paints.append(paint)

    def rectangle(
        self, box: Box, fill: Color | None = None, outline: Color | None = None, width: int = 1
    ) -> None:
        """Draw a rectangle later.

        Args:
            box: in pixels.
            fill: None for none.
            outline: None for none.
            width: of the outline, in pixels.
        """
        rounded = tuple(round(v) for v in box)
        self.draw(lambda im: ImageDraw.Draw(im).rectangle(rounded, fill, outline, width))

    def line(self, box: Box, fill: Color, width: int = 1) -> None:
        """Draw a line later, from one corner of the box to the other.

        Args:
            box: in pixels.
            fill: its colour.
            width: in pixels.
        """
        self.draw(lambda im: ImageDraw.Draw(im).line(box, fill, width))

    def _print(
        self, at: tuple[float, float], text: str, font: ImageFont.FreeTypeFont, fill: Color
    ) -> None:
        self.draw(lambda im: ImageDraw.Draw(im).text(at, text, fill, font))

    def column(self, x: float) -> float:
        """Return the patch column nearest to x, give or take `JITTER` px."""
        return round(x / ADVANCE) * ADVANCE + self.rng.uniform(-JITTER, JITTER)

    def middle(self, y: float) -> float:
        """Return the middle of the cell row that holds y, give or take `JITTER` px."""
        return (y // CELL + 0.5) * CELL + self.rng.uniform(-JITTER, JITTER)

    def word(
        self, x: float, middle: float, text: str, font: ImageFont.FreeTypeFont, fill: Color,
        *atoms: str,
    ) -> float:  # fmt: skip
        """Print a word from x on, its capitals centred on `middle`; return where it ends.

        Args:
            x: in pixels.
            middle: in pixels.
            text: the word.
            font: its font.
            fill: its colour.
            atoms: true in the cells that it takes.
        """
        _, top, _, bottom = font.getbbox("H")
        end = x + font.getlength(text)
        y = middle - (top + bottom) / 2
        self._print((x, y), text, font, fill)
        self.label_box((x, middle - 9, end, middle + 9), *atoms)
        return end

    def characters(
        self, x: float, middle: float, text: str, font: ImageFont.FreeTypeFont, fill: Color,
        *atoms: str,
    ) -> None:  # fmt: skip
        """Print a value with one character every `ADVANCE` px; label each with its place.

        Args:
            x: in pixels.
            middle: in pixels.
            text: the value.
            font: its font.
            fill: its colour.
            atoms: true besides in the cell of each character.
        """
        _, top, _, bottom = font.getbbox("0")
        y = middle - (top + bottom) / 2
        for place, char in enumerate(text):
            center = x + (place + 0.5) * ADVANCE
            at = (center - font.getlength(char) / 2, y)
            self._print(at, char, font, fill)
            self.label(center, middle, f"{place % 2}:{char}", f"#{place}", *atoms)

    def paint(self, background: Paint, seed: int) -> Image.Image:
        """Paint everything, then degrade the image a little, as `seed` says."""
        image = Image.new("RGB", (self.width, self.height))
        background(image)
        for paint in self._paints:
            paint(image)
        return degrade(image, np.random.default_rng(seed))


def random_background(rng: random.Random, dark_share: float) -> tuple[Paint, bool]:
    """Choose a nearly grey background (flat, gradient, stripes or speckle).

    Args:
        rng: decides.
        dark_share: how often it is dark.

    Returns:
        What paints it, and whether it is dark.
    """
    dark = rng.random() < dark_share
    low, high = (20, 62) if dark else (205, 255)
    tint = [rng.randint(low, high)] * 3
    base = np.array([max(0, min(255, t + rng.randint(-9, 9))) for t in tint], dtype=np.float32)
    style = rng.choice(("flat", "flat", "gradient", "stripes", "speckle"))
    angle, strength = rng.uniform(0, 6.28), rng.uniform(5, 20)
    period, seed = rng.uniform(9, 40), rng.getrandbits(32)

    def paint(image: Image.Image) -> None:
        width, height = image.size
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        along = x * np.cos(angle) + y * np.sin(angle)
        if style == "flat":
            wave = np.zeros_like(along)
        elif style == "gradient":
            wave = strength * 1.4 * along / max(width, height)
        elif style == "stripes":
            wave = 0.4 * strength * np.sign(np.sin(along * 6.28 / period))
        else:
            wave = np.random.default_rng(seed).normal(0, 0.4 * strength, along.shape)
        pixels = np.clip(base + wave[..., None], 0, 255).astype(np.uint8)
        image.paste(Image.fromarray(pixels))

    return paint, dark


def degrade(image: Image.Image, noise: np.random.Generator) -> Image.Image:
    """Blur a little, add sensor noise, or pass through JPEG, each of them sometimes."""
    if noise.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(float(noise.uniform(0.3, 0.8))))
    if noise.random() < 0.4:
        grain = noise.normal(0, noise.uniform(1, 6), (image.height, image.width, 1))
        pixels = np.clip(np.asarray(image, dtype=np.float32) + grain, 0, 255)
        image = Image.fromarray(pixels.astype(np.uint8))
    if noise.random() < 0.3:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(noise.integers(60, 95)))
        image = Image.open(buffer).convert("RGB")
    return image


def jitter(color: Color, rng: random.Random, spread: int = 12) -> Color:
    """Move each channel of a colour at random.

    Args:
        color: red, green, blue.
        rng: decides.
        spread: the most that a channel moves.
    """
    red, green, blue = (max(0, min(255, c + rng.randint(-spread, spread))) for c in color)
    return red, green, blue
