"""Encode small videos and animated images, frame by frame."""

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

VIDEO_FORMATS = {
    "h264 mp4": ("mp4", "libx264"),
    "hevc mp4": ("mp4", "libx265"),
    "mpeg4 mp4": ("mp4", "mpeg4"),
    "h264 mov": ("mov", "libx264"),
    "vp9 webm": ("webm", "libvpx-vp9"),
}


def moving_square(count: int, width: int = 96, height: int = 64) -> list[Image.Image]:
    """Draw frames in which a yellow square moves.

    The background gets redder by 8 a frame, and is blue at the top left.

    Args:
        count: frames.
        width: pixels.
        height: pixels.
    """
    frames = []
    for index in range(count):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 0] = 8 * index % 256
        pixels[: height // 3, : width // 3] = (0, 0, 255)
        left = index * 3 % (width - 16)
        pixels[height // 2 : height // 2 + 16, left : left + 16] = (255, 255, 0)
        frames.append(Image.fromarray(pixels))
    return frames


def encode_video(
    frames: Sequence[Image.Image],
    kind: str = "mp4",
    codec: str = "libx264",
    *,
    rate: int = 8,
    times: Sequence[int] | None = None,
    turn: tuple[int, bool, bool] | None = None,
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
    title: str = "",
) -> bytes:
    """Encode frames to the bytes of a video file.

    Args:
        frames: all of one size.
        kind: the container, as FFmpeg names it.
        codec: the encoder, as FFmpeg names it.
        rate: frames a second.
        times: when each frame shows, in ms, instead of `rate`.
        turn: degrees against the clock, then whether mirrored left to right and top to bottom.
        options: FFmpeg's for the codec.
        muxing: FFmpeg's for the container.
        title: of the file's metadata.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind, options=muxing or {}) as container:
        container.metadata["title"] = title
        if codec == "libx265":
            # Its threads now and then deliver a packet that MP4 cannot take.
            options = {"x265-params": "pools=none:frame-threads=1:bframes=0:log-level=none"}
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        if turn is not None:
            stream.set_display_rotation(*turn)
        base = Fraction(1, 1000) if times else Fraction(1, rate)
        stream.codec_context.time_base = base
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = times[index] if times else index, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def animation(
    frames: Sequence[Image.Image], kind: str = "GIF", milliseconds: int | list[int] = 120
) -> bytes:
    """Encode frames to the bytes of an animated image.

    Args:
        frames: all of one size.
        kind: GIF, PNG or WEBP.
        milliseconds: how long each frame shows, one number for all or one a frame.
    """
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(
        buffer, kind, save_all=True, append_images=frames[1:], duration=milliseconds, **options
    )
    return buffer.getvalue()
