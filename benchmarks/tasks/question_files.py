"""Held-out questions with their images and videos as files: PNG and MP4."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import av
from PIL import Image

from . import KINDS, SERIES_KINDS, questions, series_questions

FRAMES_PER_SECOND = 2
ALL_KINDS: dict[str, str] = {**KINDS, **SERIES_KINDS}
"""Kind of question -> the task that it belongs to, images first."""


class Asked(NamedTuple):
    """A question about files.

    Attributes:
        files: one image, one video, or two images in order.
    """

    files: tuple[bytes, ...]
    question: str
    answer: str

    @property
    def suffix(self) -> str:
        """The suffix of the files' names."""
        return "mp4" if self.files[0][4:8] == b"ftyp" else "png"


def file_questions(kind: str, n: int, split: str = "test") -> Iterator[Asked]:
    """Yield `n` questions of a kind in seed order; the same files for every family.

    Args:
        kind: one of ALL_KINDS.
        n: how many.
        split: which seeds.
    """
    if kind in KINDS:
        for image, question, answer in questions(kind, n, split):
            yield Asked((png(image),), question, answer)
        return
    for images, question, answer in series_questions(kind, n, split):
        files = (mp4(images),) if SERIES_KINDS[kind] == "clip" else tuple(map(png, images))
        yield Asked(files, question, answer)


def png(image: Image.Image) -> bytes:
    """Return the bytes of an image's file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def mp4(frames: Sequence[Image.Image]) -> bytes:
    """Encode frames to the bytes of a video file, H.264 of good quality."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", FRAMES_PER_SECOND, options={"crf": "16"})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    return buffer.getvalue()
