"""Videos that only tests need, and what makes small ones: see `benchmarks.common.video_files`."""

import io
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.common.video_files import VIDEO_FORMATS, animation, encode_video, moving_square
from luvc_core.media.frame_sampling import EvenSampling
from luvc_core.media.images import MediaLimits

__all__ = ["VIDEO_FORMATS", "animation", "encode_video", "moving_square"]

FIELD = "messages[0].parts[1].media (cat.mp4)"
LIMITS = MediaLimits()
ALL = EvenSampling(1000)
# FRAMES as AV1, encoded by `python -m tests.support.av1_files`: libsvtav1 puts the process that
# calls it, and so whatever that process starts later, into the realtime class SCHED_FIFO where it
# may.
AV1_VIDEOS = {
    f"av1 {kind}": Path(__file__).parent / "av1" / f"av1.{kind}" for kind in ("mp4", "webm")
}


def video_of(name: str) -> bytes:
    """Return FRAMES as a video file. name: one of VIDEO_FORMATS or of AV1_VIDEOS."""
    return (
        AV1_VIDEOS[name].read_bytes()
        if name in AV1_VIDEOS
        else encode_video(FRAMES, *VIDEO_FORMATS[name])
    )


def audio_only(kind: str = "mp4", codec: str = "aac") -> bytes:
    """Make a file with sound and no picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        for resampled in av.AudioResampler(stream.format, stream.layout, 48_000).resample(frame):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def no_frames() -> bytes:
    """Make an MP4 with a video track that holds nothing: its samples' tables are emptied."""
    data = bytearray(encode_video(moving_square(2)))
    for table, counts in ((b"stsz", 8), (b"stts", 4), (b"stsc", 4), (b"stco", 4), (b"ctts", 4)):
        place = data.find(table)
        if place > 0:
            data[place + 4 + counts : place + 8 + counts] = bytes(4)
    return bytes(data)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference over all channels, of 255."""
    return float(abs(np.asarray(one, float) - np.asarray(other, float)).mean())


FRAMES = moving_square(24)
FRAGMENTED = encode_video(FRAMES, muxing={"movflags": "frag_keyframe+empty_moov"})
