"""Make small images of noise, and their files."""

import io

import numpy as np
from PIL import Image


def noise_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """Make an image of coloured blobs: neighbouring patches differ, less than in white noise.

    Args:
        width: pixels.
        height: pixels.
        seed: of the noise.
    """
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """Return the bytes of an image's file, of a kind that PIL knows."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
