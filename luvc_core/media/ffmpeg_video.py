"""MP4 and WebM, decoded by FFmpeg (PyAV).

The file is read twice: first its packets alone, which say how many frames there are and when each
one shows, then its pixels up to the last chosen frame. The stock samplers trust the count in the
header instead; where that is right, the choice is the same.
"""

import io
import struct
from collections.abc import Collection, Iterator
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from luvc_core.errors import InvalidMedia
from luvc_core.media.containers import demuxer_for, missing_bytes
from luvc_core.media.video_request import Video, VideoRequest

_CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4")
# For these codecs the decoder accepts another `skip_frame` for every frame.
_SKIPPING = ("h264", "hevc", "mpeg4")
# PyAV's own checks raise the built-in ones.
_ERRORS = (av.FFmpegError, ValueError, OSError, EOFError, MemoryError)

# The display matrix maps x to a x + c y and y to b x + d y: by the signs of a and d, or of b and c.
_LEVEL = {
    (True, True): None,
    (False, True): Image.Transpose.FLIP_LEFT_RIGHT,
    (True, False): Image.Transpose.FLIP_TOP_BOTTOM,
    (False, False): Image.Transpose.ROTATE_180,
}
_SIDEWAYS = {
    (True, True): Image.Transpose.TRANSPOSE,
    (True, False): Image.Transpose.ROTATE_270,
    (False, True): Image.Transpose.ROTATE_90,
    (False, False): Image.Transpose.TRANSVERSE,
}


def decode_ffmpeg_video(request: VideoRequest) -> Video:
    """Decode the chosen frames of an MP4 or WebM file.

    Raises:
        InvalidMedia: for a damaged file or one beyond the limits; also what `request.check` raises.
    """
    missing = missing_bytes(request.data)
    if missing:
        raise request.damaged_error(f"{missing} bytes are missing")
    try:
        with _open(request) as container:
            stream = _stream_of(container, request)
            times, duration = _times(container, stream, request)
            request.check_work(len(times), (stream.width, stream.height))
        # Open it anew: seeking back to the start is not exact in every container.
        with _open(request) as container:
            stream = _stream_of(container, request)
            rate = _rate_of(stream, len(times) / duration)
            chosen = request.sampling.choose(len(times), rate)
            wanted = {times[index]: index for index in chosen}
            shrink = request.frame_shrinker(len(wanted))
            kept = {
                wanted[moment]: shrink(upright(frame))
                for moment, frame in _decode(container, stream, wanted, request)
            }
            second = float(stream.time_base or 0)
    except _ERRORS as error:
        raise request.damaged_error(error) from error
    return request.gather(chosen, kept, [t * second for t in times], duration, rate)


def _open(request: VideoRequest) -> InputContainer:
    # The options apply here too: FFmpeg may decode a frame to learn what the header leaves out.
    return av.open(
        io.BytesIO(request.data),
        "r",
        format=demuxer_for(request.data),
        options=_decoder_options(request),
        # A title in another text encoding is no reason to refuse the video.
        metadata_errors="ignore",
    )


def _decoder_options(request: VideoRequest) -> dict[str, str]:
    """Return FFmpeg options that bound frames whose size is known only once they are decoded."""
    return {"max_pixels": str(4 * request.limits.max_video_pixels)}


def _stream_of(container: InputContainer, request: VideoRequest) -> VideoStream:
    """Return the first video track that is not a cover image, its header checked."""
    cover = av.stream.Disposition.attached_pic
    stream = next((s for s in container.streams.video if not s.disposition & cover), None)
    if stream is None:
        problem = "audio only" if container.streams.audio else "no picture track"
        raise InvalidMedia(request.field, problem, "a clip with a picture track")
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
    if codec not in _CODECS:
        raise InvalidMedia(request.field, f"pictures coded as {codec}", ", ".join(_CODECS))
    if stream.width == 0 or stream.height == 0:
        allowed = f"at most {request.limits.max_video_pixels} pixels"
        raise InvalidMedia(request.field, "frames of no size or of far too many pixels", allowed)
    request.check_frame((stream.width, stream.height))
    second = float(stream.time_base or 0)
    request.check_length(stream.frames, (stream.duration or 0) * second)
    request.check_length(0, (container.duration or 0) / av.time_base)
    return stream


def _times(
    container: InputContainer, stream: VideoStream, request: VideoRequest
) -> tuple[list[int], float]:
    """Return when each frame shows, in the stream's time base, and the length in seconds."""
    moments, end, second = set(), 0, float(stream.time_base or 0)
    for packet in _packets(container, stream, request):
        if packet.pts is None:
            raise request.damaged_error("a frame without a time")
        moments.add(packet.pts)
        end = max(end, packet.pts + (packet.duration or 0))
        request.check_length(len(moments), 0)
    if not moments:
        raise InvalidMedia(request.field, "no frames", "a clip of at least one frame")
    times = sorted(moments)
    duration = (end - times[0]) * second
    if end == times[-1]:
        # The file does not say how long the last frame shows: assume as long as the others.
        duration *= len(times) / max(1, len(times) - 1)
    duration = duration or float(1 / (stream.average_rate or 1))
    request.check_length(len(times), duration)
    return times, duration


def _rate_of(stream: VideoStream, counted: float) -> float:
    """Return the header's rate, as the stock samplers do, unless it differs from `counted`."""
    written = float(stream.average_rate or 0)
    return written if abs(written / counted - 1) < 0.05 else counted


def _packets(
    container: InputContainer, stream: VideoStream, request: VideoRequest
) -> "Iterator[Packet[VideoStream]]":
    """Yield the packets of all frames that show."""
    is_vp8 = stream.codec_context.codec.canonical_name == "vp8"
    for packet in container.demux(stream):
        request.check()
        if packet.is_corrupt:
            raise request.damaged_error("a frame is cut")
        # VP8 stores frames that other frames refer to and that never show: the fifth bit of the
        # first byte says so (RFC 6386).
        hidden = is_vp8 and packet.size and not memoryview(packet)[0] & 0x10
        if packet.size and not packet.is_discard and not hidden:
            yield packet


def _decode(
    container: InputContainer, stream: VideoStream, wanted: Collection[int], request: VideoRequest
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield the frames that show at the `wanted` times, in order."""
    decoder = stream.codec_context
    # One thread: the service decodes several files at once.
    decoder.thread_count = 1
    decoder.options = _decoder_options(request)
    may_skip = decoder.codec.canonical_name in _SKIPPING
    missing_count = len(wanted)
    for packet in container.demux(stream):
        request.check()
        if may_skip:
            # A frame that no other frame refers to is only decoded when it is wanted itself.
            needed = packet.pts is None or packet.pts in wanted
            decoder.skip_frame = "DEFAULT" if needed else "NONREF"
        for frame in decoder.decode(packet if packet.size else None):
            if frame.pts is not None and frame.pts in wanted:
                if frame.is_corrupt:
                    raise request.damaged_error("a frame is cut")
                request.check_frame((frame.width, frame.height))
                missing_count -= 1
                yield frame.pts, frame
        if missing_count == 0:
            return


def upright(frame: VideoFrame) -> Image.Image:
    """Convert a frame to RGB, turned and mirrored as the file's display matrix says."""
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d, *_ = struct.unpack("9i", matrix)
    turn = _LEVEL[(a > 0, d > 0)] if abs(a) > abs(b) else _SIDEWAYS[(b > 0, c > 0)]
    return image if turn is None else image.transpose(turn)
