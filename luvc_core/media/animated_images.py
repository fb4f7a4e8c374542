"""Animated GIF, WebP and PNG, decoded by Pillow, as still images are."""

import io
from collections.abc import Iterator

from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from luvc_core.errors import InvalidMedia
from luvc_core.media.images import DECODING_ERRORS, image_reader_for, to_rgb
from luvc_core.media.video_request import Video, VideoRequest

# A frame of 10 ms or less is shown for 100 ms, as browsers do with files that say 0.
_SHORTEST_MS, _DEFAULT_MS = 10, 100


def is_animation(data: bytes) -> bool:
    """Tell whether a file is a GIF, WebP or PNG of several frames.

    Decodes no pixels. A damaged file is not an animation.
    """
    reader = _animation_reader_for(data)
    if reader is None:
        return False
    try:
        return bool(getattr(reader(io.BytesIO(data)), "is_animated", False))
    except DECODING_ERRORS:
        return False


def decode_animated_image(request: VideoRequest) -> Video:
    """Decode the chosen frames of an animated image.

    Raises:
        InvalidMedia: for a damaged file or one beyond the limits; also what `request.check` raises.
    """
    try:
        starts, duration = _times(request)
        rate = len(starts) / duration
        chosen = request.sampling.choose(len(starts), rate)
        shrink = request.frame_shrinker(len(set(chosen)))
        kept = {}
        for index, image in _frames(request):
            if index in chosen:
                kept[index] = shrink(to_rgb(image))
            if index == chosen[-1]:
                break
    except DECODING_ERRORS as error:
        raise request.damaged_error(error) from error
    return request.gather(chosen, kept, starts, duration, rate)


def _times(request: VideoRequest) -> tuple[list[float], float]:
    """Return when each frame starts and when the last one ends, in seconds.

    Decodes every frame once.
    """
    starts, now = [], 0
    for _, image in _frames(request):
        starts.append(now / 1000)
        duration_ms = int(image.info.get("duration", 0))
        now += duration_ms if duration_ms > _SHORTEST_MS else _DEFAULT_MS
        request.check_length(len(starts), now / 1000)
        request.check_work(len(starts), image.size)
    if not starts:
        raise request.damaged_error("no frames")
    return starts, now / 1000


def _frames(request: VideoRequest) -> Iterator[tuple[int, Image.Image]]:
    """Yield every frame with its index, decoded. The next frame overwrites the image."""
    reader = _animation_reader_for(request.data)
    if reader is None:
        raise InvalidMedia(request.field, "no animation", "GIF, WebP or PNG")
    image = reader(io.BytesIO(request.data))
    # A PNG may begin with a still image for viewers that cannot show the animation.
    skipped = 1 if image.info.get("default_image") else 0
    index = 0
    while True:
        try:
            image.seek(index + skipped)
        except EOFError:
            return
        request.check()
        request.check_frame(image.size)
        image.load()
        yield index, image
        index += 1


def _animation_reader_for(data: bytes) -> type[ImageFile] | None:
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile
    reader = image_reader_for(data)
    return reader if reader in (PngImageFile, WebPImageFile) else None
