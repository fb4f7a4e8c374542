"""Held-out questions with what they are asked about as files: PNG pictures and MP4 clips."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import av
from PIL import Image

from . import KINDS, SERIES_KINDS, questions, series_questions

FRAMES_PER_SECOND = 2
ALL_KINDS: dict[str, str] = {**KINDS, **SERIES_KINDS}
"""Kind of question -> the task that it belongs to, pictures first."""


class Asked(NamedTuple):
    """`files` are what the question is about, in order: one picture, one clip, or two pictures."""

    files: tuple[bytes, ...]
    question: str
    answer: str

    @property
    def suffix(self) -> str:
        """Of the files' names."""
        return "mp4" if self.files[0][4:8] == b"ftyp" else "png"


def file_questions(kind: str, n: int, split: str = "test") -> Iterator[Asked]:
    """`n` questions of a kind in seed order; the same files for every family."""
    if kind in KINDS:
        for image, question, answer in questions(kind, n, split):
            yield Asked((png(image),), question, answer)
        return
    for images, question, answer in series_questions(kind, n, split):
        files = (mp4(images),) if SERIES_KINDS[kind] == "clip" else tuple(map(png, images))
        yield Asked(files, question, answer)


def png(image: Image.Image) -> bytes:
    """The bytes of a picture's file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def mp4(frames: Sequence[Image.Image]) -> bytes:
    """The bytes of a clip's file, H.264 of good quality."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", FRAMES_PER_SECOND, options={"crf": "16"})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    return buffer.getvalue()
