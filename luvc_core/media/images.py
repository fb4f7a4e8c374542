"""Decode images within limits.

JPEG, PNG and WebP are accepted, recognised by their first bytes. Animated files are videos
(`decode_video`) and refused here, because decoding only their first frame would silently lose the
others. Transparent areas become white. The embedded colour profile is ignored, as the models' own
preprocessing does.
"""

import io
import struct
import zlib
from dataclasses import dataclass, fields

from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from luvc_core.errors import InvalidMedia, InvalidSettings

_TYPES = "JPEG, PNG or WebP"
VIDEO_TYPES = "MP4, WebM, or animated GIF, WebP or PNG"
# What Pillow raises for damaged files. The decompression-bomb errors are Pillow's own limit, which
# some readers check when they open a file or a later frame, before our limit is checked.
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip


@dataclass(frozen=True)
class MediaLimits:
    """Limits of the media in a request.

    Attributes:
        max_bytes: size of an image file.
        max_pixels: pixels of an image.
        max_items: images and videos of a request.
        min_side: shortest side of an image or frame, in pixels.
        max_aspect_ratio: long side by short side.
        max_video_bytes: size of a video file.
        max_video_pixels: pixels of one frame.
        max_video_seconds: length of a video.
        max_video_frames: number of its frames.
        max_video_decoded_bytes: bytes of all its frames, decoded one after the other.
        max_video_kept_bytes: bytes of the chosen frames, which are made smaller to fit.
        max_shown_frames: number of frames that a family may look at.
        max_videos: videos of a request.
    """

    max_bytes: int = 20 * 2**20
    max_pixels: int = 50_000_000
    max_items: int = 16
    min_side: int = 4
    max_aspect_ratio: int = 100
    max_video_bytes: int = 60 * 2**20
    max_video_pixels: int = 4096 * 2304
    max_video_seconds: int = 600
    max_video_frames: int = 36_000
    max_video_decoded_bytes: int = 128 * 2**30
    max_video_kept_bytes: int = 256 * 2**20
    max_shown_frames: int = 128
    max_videos: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise InvalidSettings(f"media.{field.name}", f"got {value}", ">= 1")

    def check_count(self, count: int, video_count: int) -> None:
        """Raise InvalidMedia if a request holds too many images and videos, or too many videos."""
        if count > self.max_items:
            raise InvalidMedia(
                "messages", f"{count} pictures and clips", f"at most {self.max_items}"
            )
        if video_count > self.max_videos:
            raise InvalidMedia("messages", f"{video_count} clips", f"at most {self.max_videos}")


def decode_image(data: bytes, field: str, limits: MediaLimits) -> Image.Image:
    """Decode an image to upright RGB. Its size is checked before pixels are decoded.

    Args:
        data: the file.
        field: names the file in errors.
        limits: what it may be at most.

    Raises:
        InvalidMedia: for anything that is not a whole, still image within the limits.
    """
    if not data:
        raise InvalidMedia(field, "0 bytes", _TYPES)
    if len(data) > limits.max_bytes:
        raise InvalidMedia(field, f"{len(data)} bytes", f"at most {limits.max_bytes} bytes")
    reader = image_reader_for(data)
    if reader is None:
        problem = f"unsupported type ({_what_it_looks_like(data)})"
        raise InvalidMedia(field, problem, f"{_TYPES}; for clips {VIDEO_TYPES}")
    try:
        # Image.open would warn or raise by a global limit of pixels.
        image = reader(io.BytesIO(data))
    except DECODING_ERRORS as error:
        raise InvalidMedia(field, f"its header cannot be read: {error}", _TYPES) from error
    check_size(image.size, field, limits, limits.max_pixels)
    if getattr(image, "is_animated", False):
        raise InvalidMedia(field, f"animated, {_frame_count(image)} frames", "still pictures")
    try:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))
    except DECODING_ERRORS as error:
        problem = f"truncated or damaged: {error}"
        raise InvalidMedia(field, problem, f"a whole {_TYPES} file") from error


def image_reader_for(data: bytes) -> type[ImageFile] | None:
    """Return Pillow's reader for a file by its first bytes, or None for an unsupported type."""
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    return None


def _what_it_looks_like(data: bytes) -> str:
    known = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%PDF": "PDF"}
    name = next((name for magic, name in known.items() if data.startswith(magic)), None)
    if name is None and data[4:8] == b"ftyp":
        name = "MP4, HEIC or AVIF"
    return name or f"begins with {data[:4].hex(' ')}"


def check_size(sides: tuple[int, int], field: str, limits: MediaLimits, max_pixels: int) -> None:
    """Raise InvalidMedia unless an image or frame of this size may be decoded.

    Args:
        sides: width and height in pixels.
        field: names the file in errors.
        limits: of the shortest side and the aspect ratio.
        max_pixels: greatest number of pixels.
    """
    width, height = sides
    size = f"{width}x{height} pixels"
    if width * height > max_pixels:
        raise InvalidMedia(field, size, f"at most {max_pixels} pixels")
    if min(width, height) < limits.min_side:
        raise InvalidMedia(field, size, f"sides of at least {limits.min_side} pixels")
    if max(width, height) > limits.max_aspect_ratio * min(width, height):
        allowed = f"sides that differ at most {limits.max_aspect_ratio} times"
        raise InvalidMedia(field, size, allowed)


def _frame_count(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB, its transparent areas to white."""
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow would clip the values to 8 bits instead of scaling them.
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
