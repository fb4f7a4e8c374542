"""Clips decoded: every kind, every shape of file, upright and on time."""

import io

import numpy as np
import pytest
from PIL import Image
from transformers.video_utils import read_video_pyav

from luvc_core.errors import InvalidMedia
from luvc_core.media.decode_video import decode_video, media_kind_of
from luvc_core.media.frame_sampling import EvenSampling, RateSampling
from luvc_core.media.images import decode_image
from tests.core.media.test_frame_sampling import stock_indices
from tests.support.checkpoints import encoded
from tests.support.video_files import (
    ALL,
    AV1_VIDEOS,
    FIELD,
    FRAGMENTED,
    FRAMES,
    LIMITS,
    VIDEO_FORMATS,
    animation,
    difference,
    encode_video,
    video_of,
)

NAMES = [*VIDEO_FORMATS, *AV1_VIDEOS]
SAMPLINGS = {
    "Qwen2-VL": RateSampling(rate=4, min_frames=4, max_frames=10),
    "InternVL": EvenSampling(5, middle=True),
    "LLaVA-OneVision": EvenSampling(5),
}


@pytest.mark.parametrize("name", NAMES)
def test_films_are_videos(name: str) -> None:
    assert media_kind_of(video_of(name)) == "video"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_what_moves_is_a_video_and_what_does_not_an_image(kind: str) -> None:
    assert media_kind_of(animation(FRAMES, kind)) == "video"
    assert media_kind_of(encoded(FRAMES[0], kind)) == "image"
    assert media_kind_of(animation(FRAMES, kind)[:12]) == "image"


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"GIF89a", encoded(FRAMES[0], "JPEG"), b"\0\0\0\x20ftypavif", b"\0" * 20],
)
def test_everything_else_is_left_to_the_images(data: bytes) -> None:
    assert media_kind_of(data) == "image"


def test_a_still_gif_is_refused_as_before() -> None:
    with pytest.raises(InvalidMedia, match=r"unsupported type \(GIF"):
        decode_image(encoded(FRAMES[0], "GIF"), FIELD, LIMITS)


@pytest.mark.parametrize("family", SAMPLINGS)
@pytest.mark.parametrize("name", [name for name in NAMES if "webm" not in name])
def test_frames_are_the_stock_readers_to_the_bit(name: str, family: str) -> None:
    data, sampling = video_of(name), SAMPLINGS[family]
    frames, metadata = read_video_pyav(
        io.BytesIO(data), lambda metadata: stock_indices(sampling, metadata)
    )
    video = decode_video(data, FIELD, LIMITS, sampling)
    assert np.array_equal(np.stack([np.asarray(f) for f in video.frames]), frames)
    assert video.frame_count == metadata.total_num_frames
    assert video.rate == metadata.fps
    assert video.timestamps == pytest.approx(metadata.timestamps)


@pytest.mark.parametrize("name", NAMES)
def test_films(name: str) -> None:
    video = decode_video(video_of(name), FIELD, LIMITS, ALL)
    assert (video.frame_count, video.duration, video.rate) == (24, 3.0, 8.0)
    assert video.timestamps == pytest.approx([i / 8 for i in range(24)])
    assert all(difference(a, b) < 9 for a, b in zip(video.frames, FRAMES, strict=True))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations(kind: str) -> None:
    times = [120, 400, 50] * 8
    video = decode_video(animation(FRAMES, kind, times), FIELD, LIMITS, EvenSampling(5))
    assert (video.frame_count, video.duration) == (24, 4.56)
    assert video.timestamps == pytest.approx([sum(times[:i]) / 1000 for i in (0, 4, 9, 14, 19)])
    for frame, index in zip(video.frames, (0, 4, 9, 14, 19), strict=True):
        assert difference(frame, FRAMES[index]) < 1


def test_a_gif_that_says_no_time_shows_each_frame_for_a_tenth_of_a_second() -> None:
    video = decode_video(animation(FRAMES, "GIF", 0), FIELD, LIMITS, ALL)
    assert video.duration == pytest.approx(2.4)


def test_transparent_places_of_an_animation_become_white() -> None:
    frames = [Image.new("RGBA", (40, 30)) for _ in range(3)]
    for index, frame in enumerate(frames):
        frame.paste((200, 0, 0, 255), (index * 10, 0, index * 10 + 10, 30))
    video = decode_video(animation(frames, "PNG"), FIELD, LIMITS, ALL)
    assert video.frames[1].getpixel((15, 5)) == (200, 0, 0)
    assert video.frames[1].getpixel((35, 5)) == (255, 255, 255)


def test_the_still_before_an_animated_png_is_no_frame() -> None:
    buffer = io.BytesIO()
    still = Image.new("RGB", FRAMES[0].size, "white")
    still.save(buffer, "PNG", save_all=True, append_images=FRAMES[:5], default_image=True)
    video = decode_video(buffer.getvalue(), FIELD, LIMITS, ALL)
    assert video.frame_count == 5
    assert difference(video.frames[0], FRAMES[0]) < 1


@pytest.mark.parametrize("name", ["h264 mp4", "vp9 webm"])
def test_a_varying_rate_gives_true_timestamps(name: str) -> None:
    times = [0, 100, 900, 1000, 4000, 4040]
    video = decode_video(
        encode_video(FRAMES[:6], *VIDEO_FORMATS[name], times=times), FIELD, LIMITS, EvenSampling(3)
    )
    assert video.timestamps == pytest.approx((0.0, 0.9, 4.0), abs=0.002)
    assert all(difference(a, b) < 6 for a, b in zip(video.frames, FRAMES[0:6:2], strict=True))
    assert 4.0 < video.duration < 4.3
    assert video.rate == pytest.approx(6 / video.duration)


def test_fragments_need_no_index() -> None:
    video = decode_video(FRAGMENTED, FIELD, LIMITS, EvenSampling(4))
    assert video.frame_count == 24
    assert difference(video.frames[3], FRAMES[18]) < 6


@pytest.mark.parametrize("kind", ["h264 mp4", "vp9 webm"])
def test_a_title_in_another_encoding_is_no_damage(kind: str) -> None:
    data = encode_video(FRAMES[:2], *VIDEO_FORMATS[kind], title="Cafe in Zurich")
    assert b"Cafe" in data
    video = decode_video(data.replace(b"Cafe", b"Caf\xe9"), FIELD, LIMITS, ALL)
    assert video.frame_count == 2


@pytest.mark.parametrize("turn", range(0, 360, 90))
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_and_mirrored_videos_are_upright(turn: int, mirrored: bool) -> None:
    plain = decode_video(encode_video(FRAMES[:3]), FIELD, LIMITS, ALL).frames
    turned = decode_video(
        encode_video(FRAMES[:3], turn=(turn, mirrored, False)), FIELD, LIMITS, ALL
    ).frames
    for frame, image in zip(turned, plain, strict=True):
        image = image.rotate(turn, expand=True)
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert np.array_equal(np.asarray(frame), np.asarray(image))
