"""Clips that are refused: damaged, over a limit, or none at all."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luvc_core.errors import DeadlineExceeded, InvalidMedia
from luvc_core.media.decode_video import decode_video
from luvc_core.media.frame_sampling import EvenSampling
from luvc_core.media.images import MediaLimits
from tests.support.checkpoints import encoded, noise_image
from tests.support.video_files import (
    ALL,
    FIELD,
    FRAGMENTED,
    FRAMES,
    LIMITS,
    VIDEO_FORMATS,
    animation,
    audio_only,
    difference,
    encode_video,
    no_frames,
)


def enlarged_gif() -> bytes:
    """Its second frame claims to be 96 x 60,000 pixels."""
    data = bytearray(animation(FRAMES[:2]))
    place = data.rfind(b"\x2c", 0, len(data) - 200)
    data[place + 7 : place + 9] = (60_000).to_bytes(2, "little")
    return bytes(data)


H264 = encode_video(FRAMES)
BAD = {
    "zero bytes": (b"", "0 bytes"),
    "text": (b"no clip at all", "no clip"),
    "a picture": (encoded(noise_image(64, 48)), "no clip"),
    "a still GIF": (encoded(FRAMES[0], "GIF"), "no clip"),
    "MP4 signature only": (H264[:32], "truncated or damaged"),
    "WebM signature only": (
        encode_video(FRAMES, *VIDEO_FORMATS["vp9 webm"])[:4],
        "truncated or damaged",
    ),
    "truncated MP4": (H264[: len(H264) // 2], r"truncated or damaged: \d+ bytes are missing"),
    "MP4 short of one byte": (H264[:-1], "truncated or damaged: 1 bytes are missing"),
    "truncated fragments": (FRAGMENTED[: len(FRAGMENTED) // 2], "truncated or damaged"),
    "truncated WebM": (
        encode_video(FRAMES, *VIDEO_FORMATS["vp9 webm"])[:-100],
        "100 bytes are missing",
    ),
    "truncated GIF": (animation(FRAMES)[:-200], "truncated or damaged"),
    "truncated APNG": (animation(FRAMES, "PNG")[:-200], "truncated or damaged"),
    "audio in MP4": (audio_only(), "audio only"),
    "audio in WebM": (audio_only("webm", "libopus"), "audio only"),
    "no frames": (no_frames(), "no frames"),
    "a codec nobody needs": (encode_video(FRAMES, "matroska", "ffv1"), "pictures coded as ffv1"),
    "two hours": (
        encode_video(FRAMES[:2], times=[0, 7_200_000]),
        r"a clip of [\d.e+]+ s; allowed: at most 600 s",
    ),
    "two hours of GIF": (
        animation(FRAMES[:12], "GIF", 650_000),
        r"a clip of [\d.e+]+ s; allowed: at most",
    ),
    "thin": (animation([f.resize((96, 3)) for f in FRAMES]), "96x3 pixels; allowed: sides of"),
    "a GIF that grows": (enlarged_gif(), "pixels; allowed|frames of|truncated"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_videos_are_named(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(InvalidMedia, match=message) as caught:
        decode_video(data, FIELD, LIMITS, ALL)
    assert caught.value.field == FIELD
    assert caught.value.allowed


VIDEOS = {
    "mp4": H264,
    "webm": encode_video(FRAMES, *VIDEO_FORMATS["vp9 webm"]),
    "animation": animation(FRAMES),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_pixel_limit_holds_before_decoding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luvc_core.media.ffmpeg_video._decode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.GifImagePlugin.GifImageFile.load", lambda _: pytest.fail("decoded"))
    with pytest.raises(InvalidMedia, match="96x64 pixels; allowed: at most 6143 pixels"):
        decode_video(VIDEOS[name], FIELD, MediaLimits(max_video_pixels=6143), ALL)


@pytest.mark.parametrize("name", VIDEOS)
def test_other_limits(name: str) -> None:
    data = VIDEOS[name]
    exact = MediaLimits(
        max_video_pixels=96 * 64, max_video_frames=24,
        max_video_bytes=len(data), max_video_seconds=3,
        max_video_decoded_bytes=24 * 96 * 64 * 3,
    )  # fmt: skip
    decode_video(data, FIELD, exact, ALL)
    for limits, message in (
        (MediaLimits(max_video_bytes=len(data) - 1), f"{len(data)} bytes; allowed: at most"),
        (MediaLimits(max_video_frames=23), "24 frames; allowed: at most 23 frames"),
        (MediaLimits(max_video_seconds=2), r"a clip of [\d.]+ s; allowed: at most 2 s"),
        (
            MediaLimits(max_video_decoded_bytes=24 * 96 * 64 * 3 - 1),
            "24 frames of 96x64 pixels, 44",
        ),
    ):
        with pytest.raises(InvalidMedia, match=message):
            decode_video(data, FIELD, limits, ALL)


@pytest.mark.parametrize("name", VIDEOS)
def test_kept_frames_fit_in_memory(name: str) -> None:
    limits = MediaLimits(max_video_kept_bytes=24 * 3 * 1600)
    video = decode_video(VIDEOS[name], FIELD, limits, ALL)
    assert len(video.frames) == 24
    assert {frame.size for frame in video.frames} == {(48, 32)}
    assert difference(video.frames[9], FRAMES[9].resize((48, 32))) < 8
    alone = decode_video(VIDEOS[name], FIELD, limits, EvenSampling(1))
    assert alone.frames[0].size == (96, 64)


@pytest.mark.parametrize("name", VIDEOS)
def test_the_check_ends_the_work(name: str) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise DeadlineExceeded("over")

    with pytest.raises(DeadlineExceeded):
        decode_video(VIDEOS[name], FIELD, LIMITS, ALL, check)


FUZZED = {
    **VIDEOS,
    "fragments": FRAGMENTED,
    "mpeg4": encode_video(FRAMES[:8], codec="mpeg4"),
    "webp": animation(FRAMES[:8], "WEBP"),
    "png": animation(FRAMES[:8], "PNG"),
}


@pytest.mark.filterwarnings("ignore:Invalid APNG")
@pytest.mark.parametrize("name", FUZZED)
@settings(max_examples=120)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_damage_anywhere_is_a_video_or_a_typed_error(
    name: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(FUZZED[name])
    for place, value in changes:
        data[place % len(data)] = value
    limits = MediaLimits(max_video_pixels=10**6, max_video_frames=100)
    steps = itertools.count()

    def check() -> None:
        assert next(steps) < 1000, "the work is not bounded by the limits"

    try:
        video = decode_video(bytes(data), FIELD, limits, EvenSampling(5), check)
    except InvalidMedia:
        return
    assert 1 <= len(video.frames) <= 5
    assert len({frame.size for frame in video.frames}) == 1
    assert all(frame.mode == "RGB" for frame in video.frames)
