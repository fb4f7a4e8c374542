"""Decode videos within limits: MP4, WebM, and animated GIF, WebP or PNG."""

from collections.abc import Callable
from typing import Literal

from luvc_core.errors import InvalidMedia
from luvc_core.media.animated_images import decode_animated_image, is_animation
from luvc_core.media.containers import demuxer_for
from luvc_core.media.ffmpeg_video import decode_ffmpeg_video
from luvc_core.media.frame_sampling import FrameSampling
from luvc_core.media.images import VIDEO_TYPES, MediaLimits
from luvc_core.media.video_request import Video, VideoRequest

MediaKind = Literal["image", "video"]


def media_kind_of(data: bytes) -> MediaKind:
    """Tell by its content whether a media file is an image or a video.

    An unknown file and a GIF of one frame count as images, so that decode_image refuses them by
    name.
    """
    return "video" if demuxer_for(data) or is_animation(data) else "image"


def decode_video(
    data: bytes,
    field: str,
    limits: MediaLimits,
    sampling: FrameSampling,
    check: Callable[[], None] = lambda: None,
) -> Video:
    """Decode the frames of a video that `sampling` chooses.

    The time grows with the frames of the file, the memory with the chosen ones, which are made
    smaller as they come where all of them would not fit in `limits.max_video_kept_bytes`.

    Args:
        data: the file.
        field: names the file in errors.
        limits: what it may be at most.
        sampling: the family's choice of frames.
        check: called at least once a frame; may raise to end the work, as Deadline.check does.

    Raises:
        InvalidMedia: for anything that is not a whole video within the limits.
    """
    if not data:
        raise InvalidMedia(field, "0 bytes", VIDEO_TYPES)
    if len(data) > limits.max_video_bytes:
        raise InvalidMedia(field, f"{len(data)} bytes", f"at most {limits.max_video_bytes} bytes")
    request = VideoRequest(data, field, limits, sampling, check)
    if demuxer_for(data):
        return decode_ffmpeg_video(request)
    if is_animation(data):
        return decode_animated_image(request)
    raise InvalidMedia(field, "no clip", VIDEO_TYPES)
