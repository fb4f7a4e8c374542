"""Clips, good and bad."""

import ast
import io
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.video_utils import VideoMetadata, default_sample_indices_fn, read_video_pyav

from luvc_core.errors import DeadlineExceeded, InvalidMedia, InvalidSettings
from luvc_core.media.images import MediaLimits, decode_image
from luvc_core.media.sampling import EvenSampling, FrameSampling, RateSampling
from luvc_core.media.video import decode_clip, kind_of
from tests.clips import animation, audio_only, film, moving_square, no_frames
from tests.fixtures import encoded, noise_picture

FIELD = "messages[0].parts[1].media (cat.mp4)"
LIMITS = MediaLimits()
ALL = EvenSampling(1000)
FRAMES = moving_square(24)
FILMS = {
    "h264 mp4": ("mp4", "libx264"),
    "hevc mp4": ("mp4", "libx265"),
    "mpeg4 mp4": ("mp4", "mpeg4"),
    "av1 mp4": ("mp4", "libsvtav1"),
    "h264 mov": ("mov", "libx264"),
    "vp9 webm": ("webm", "libvpx-vp9"),
    "av1 webm": ("webm", "libsvtav1"),
}
FRAGMENTED = film(FRAMES, muxing={"movflags": "frag_keyframe+empty_moov"})
SAMPLINGS = {
    "Qwen2-VL": RateSampling(rate=4, min_frames=4, max_frames=10),
    "InternVL": EvenSampling(5, middle=True),
    "LLaVA-OneVision": EvenSampling(5),
}


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(abs(np.asarray(one, float) - np.asarray(other, float)).mean())


# What is a clip?


@pytest.mark.parametrize("name", FILMS)
def test_films_are_clips(name: str) -> None:
    assert kind_of(film(FRAMES[:2], *FILMS[name])) == "clip"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_what_moves_is_a_clip_and_what_does_not_a_picture(kind: str) -> None:
    assert kind_of(animation(FRAMES, kind)) == "clip"
    assert kind_of(encoded(FRAMES[0], kind)) == "picture"
    assert kind_of(animation(FRAMES, kind)[:12]) == "picture"


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"GIF89a", encoded(FRAMES[0], "JPEG"), b"\0\0\0\x20ftypavif", b"\0" * 20],
)
def test_everything_else_is_left_to_the_pictures(data: bytes) -> None:
    assert kind_of(data) == "picture"


def test_a_still_gif_is_refused_as_before() -> None:
    with pytest.raises(InvalidMedia, match=r"unsupported type \(GIF"):
        decode_image(encoded(FRAMES[0], "GIF"), FIELD, LIMITS)


# Which frames?


def stock(module: str) -> Callable[..., torch.Tensor]:
    """`sample_frames` of a stock video processor, whose module wants torchvision to be imported."""
    spec = find_spec(f"transformers.models.{module}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    method = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "sample_frames"
    )
    names: dict[str, object] = {"torch": torch, "math": math, "VideoMetadata": VideoMetadata}
    exec(compile(ast.Module([method], []), module, "exec"), names)
    return names["sample_frames"]  # type: ignore[return-value]


def stock_indices(sampling: FrameSampling, metadata: VideoMetadata) -> list[int]:
    if isinstance(sampling, RateSampling):
        return stock("qwen2_vl.video_processing_qwen2_vl")(
            SimpleNamespace(num_frames=None), metadata, sampling.multiple, sampling.min_frames,
            sampling.max_frames, fps=sampling.rate,
        ).tolist()  # fmt: skip
    assert isinstance(sampling, EvenSampling)
    if sampling.middle:
        return stock("internvl.video_processing_internvl")(
            SimpleNamespace(), metadata, sampling.count, initial_shift=True
        ).tolist()
    return default_sample_indices_fn(metadata, num_frames=sampling.count).tolist()


@pytest.mark.parametrize("rate", [1.0, 8, 23.976, 29.97, 30, 60])
def test_rate_sampling_is_qwens(rate: float) -> None:
    function = stock("qwen2_vl.video_processing_qwen2_vl")
    for count in [*range(2, 130), 299, 300, 301, 1000, 17_999]:
        for sampling in (RateSampling(), RateSampling(1.0, 4, 32), RateSampling(0.5, 2, 6)):
            got = sampling.choose(count, rate)
            expected = function(
                SimpleNamespace(num_frames=None), VideoMetadata(count, rate), 2,
                sampling.min_frames, sampling.max_frames, fps=sampling.rate,
            )  # fmt: skip
            # The stock rule overshoots the clip's end at some lengths; its readers stop there.
            assert got == [i for i in expected.tolist() if i < count]
            assert len(got) % 2 == 0


@pytest.mark.parametrize("count", [1, 8, 32, 33])
def test_even_sampling_is_internvls_and_llava_onevisions(count: int) -> None:
    function = stock("internvl.video_processing_internvl")
    for total in [*range(count, count + 200), 1000, 17_999]:
        metadata = VideoMetadata(total, 30.0)
        middle = function(SimpleNamespace(), metadata, count, initial_shift=True)
        assert EvenSampling(count, middle=True).choose(total, 30.0) == middle.tolist()
        even = default_sample_indices_fn(metadata, num_frames=count)
        assert EvenSampling(count).choose(total, 30.0) == even.tolist()


@given(st.integers(1, 2000), st.floats(1e-3, 1e4), st.integers(1, 40), st.integers(1, 4))
def test_no_sampling_leaves_the_clip(total: int, rate: float, count: int, multiple: int) -> None:
    by_rate = RateSampling(2.0, count + multiple, 2 * count + multiple, multiple)
    for sampling in (EvenSampling(count), EvenSampling(count, middle=True), by_rate):
        chosen = sampling.choose(total, rate)
        assert chosen
        assert chosen == sorted(chosen)
        assert 0 <= chosen[0] <= chosen[-1] < total
    assert len(chosen) % multiple == 0
    assert len(chosen) <= 2 * count + multiple


def test_short_clips_give_what_they_have() -> None:
    assert EvenSampling(32).choose(3, 8.0) == [0, 1, 2]
    assert EvenSampling(32, middle=True).choose(3, 8.0) == [0, 1, 2]
    assert RateSampling().choose(3, 8.0) == [0, 1]
    assert RateSampling().choose(1, 8.0) == [0, 0]


@pytest.mark.parametrize(
    "make",
    [lambda: EvenSampling(0), lambda: RateSampling(0.0), lambda: RateSampling(2, 8, 4),
     lambda: RateSampling(multiple=8)],
)  # fmt: skip
def test_samplings_are_checked(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidSettings, match="frames"):
        make()


@pytest.mark.parametrize("family", SAMPLINGS)
@pytest.mark.parametrize("name", [name for name in FILMS if "webm" not in name])
def test_frames_are_the_stock_readers_to_the_bit(name: str, family: str) -> None:
    data, sampling = film(FRAMES, *FILMS[name]), SAMPLINGS[family]
    frames, metadata = read_video_pyav(
        io.BytesIO(data), lambda metadata: stock_indices(sampling, metadata)
    )
    clip = decode_clip(data, FIELD, LIMITS, sampling)
    assert np.array_equal(np.stack([np.asarray(f) for f in clip.frames]), frames)
    assert clip.frame_count == metadata.total_num_frames
    assert clip.rate == metadata.fps
    assert clip.timestamps == pytest.approx(metadata.timestamps)


# Are they right?


@pytest.mark.parametrize("name", FILMS)
def test_films(name: str) -> None:
    clip = decode_clip(film(FRAMES, *FILMS[name]), FIELD, LIMITS, ALL)
    assert (clip.frame_count, clip.duration, clip.rate) == (24, 3.0, 8.0)
    assert clip.timestamps == pytest.approx([i / 8 for i in range(24)])
    assert all(difference(a, b) < 9 for a, b in zip(clip.frames, FRAMES, strict=True))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations(kind: str) -> None:
    times = [120, 400, 50] * 8
    clip = decode_clip(animation(FRAMES, kind, times), FIELD, LIMITS, EvenSampling(5))
    assert (clip.frame_count, clip.duration) == (24, 4.56)
    assert clip.timestamps == pytest.approx([sum(times[:i]) / 1000 for i in (0, 4, 9, 14, 19)])
    for frame, index in zip(clip.frames, (0, 4, 9, 14, 19), strict=True):
        assert difference(frame, FRAMES[index]) < 1


def test_a_gif_that_says_no_time_shows_each_frame_for_a_tenth_of_a_second() -> None:
    clip = decode_clip(animation(FRAMES, "GIF", 0), FIELD, LIMITS, ALL)
    assert clip.duration == pytest.approx(2.4)


def test_transparent_places_of_an_animation_become_white() -> None:
    frames = [Image.new("RGBA", (40, 30)) for _ in range(3)]
    for index, frame in enumerate(frames):
        frame.paste((200, 0, 0, 255), (index * 10, 0, index * 10 + 10, 30))
    clip = decode_clip(animation(frames, "PNG"), FIELD, LIMITS, ALL)
    assert clip.frames[1].getpixel((15, 5)) == (200, 0, 0)
    assert clip.frames[1].getpixel((35, 5)) == (255, 255, 255)


def test_the_still_before_an_animated_png_is_no_frame() -> None:
    buffer = io.BytesIO()
    still = Image.new("RGB", FRAMES[0].size, "white")
    still.save(buffer, "PNG", save_all=True, append_images=FRAMES[:5], default_image=True)
    clip = decode_clip(buffer.getvalue(), FIELD, LIMITS, ALL)
    assert clip.frame_count == 5
    assert difference(clip.frames[0], FRAMES[0]) < 1


@pytest.mark.parametrize("name", ["h264 mp4", "vp9 webm"])
def test_a_varying_rate_gives_true_timestamps(name: str) -> None:
    times = [0, 100, 900, 1000, 4000, 4040]
    clip = decode_clip(film(FRAMES[:6], *FILMS[name], times=times), FIELD, LIMITS, EvenSampling(3))
    assert clip.timestamps == pytest.approx((0.0, 0.9, 4.0), abs=0.002)
    assert all(difference(a, b) < 6 for a, b in zip(clip.frames, FRAMES[0:6:2], strict=True))
    assert 4.0 < clip.duration < 4.3
    assert clip.rate == pytest.approx(6 / clip.duration)


def test_fragments_need_no_index() -> None:
    clip = decode_clip(FRAGMENTED, FIELD, LIMITS, EvenSampling(4))
    assert clip.frame_count == 24
    assert difference(clip.frames[3], FRAMES[18]) < 6


@pytest.mark.parametrize("kind", ["h264 mp4", "vp9 webm"])
def test_a_title_in_another_encoding_is_no_damage(kind: str) -> None:
    data = film(FRAMES[:2], *FILMS[kind], title="Cafe in Zurich")
    assert b"Cafe" in data
    clip = decode_clip(data.replace(b"Cafe", b"Caf\xe9"), FIELD, LIMITS, ALL)
    assert clip.frame_count == 2


@pytest.mark.parametrize("turn", range(0, 360, 90))
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_and_mirrored_clips_are_upright(turn: int, mirrored: bool) -> None:
    plain = decode_clip(film(FRAMES[:3]), FIELD, LIMITS, ALL).frames
    turned = decode_clip(film(FRAMES[:3], turn=(turn, mirrored, False)), FIELD, LIMITS, ALL).frames
    for frame, image in zip(turned, plain, strict=True):
        image = image.rotate(turn, expand=True)
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert np.array_equal(np.asarray(frame), np.asarray(image))


# What is refused?


def enlarged_gif() -> bytes:
    """Its second frame claims to be 96 x 60,000 pixels."""
    data = bytearray(animation(FRAMES[:2]))
    place = data.rfind(b"\x2c", 0, len(data) - 200)
    data[place + 7 : place + 9] = (60_000).to_bytes(2, "little")
    return bytes(data)


H264 = film(FRAMES)
BAD = {
    "zero bytes": (b"", "0 bytes"),
    "text": (b"no clip at all", "no clip"),
    "a picture": (encoded(noise_picture(64, 48)), "no clip"),
    "a still GIF": (encoded(FRAMES[0], "GIF"), "no clip"),
    "MP4 signature only": (H264[:32], "truncated or damaged"),
    "WebM signature only": (film(FRAMES, *FILMS["vp9 webm"])[:4], "truncated or damaged"),
    "truncated MP4": (H264[: len(H264) // 2], r"truncated or damaged: \d+ bytes are missing"),
    "MP4 short of one byte": (H264[:-1], "truncated or damaged: 1 bytes are missing"),
    "truncated fragments": (FRAGMENTED[: len(FRAGMENTED) // 2], "truncated or damaged"),
    "truncated WebM": (film(FRAMES, *FILMS["vp9 webm"])[:-100], "100 bytes are missing"),
    "truncated GIF": (animation(FRAMES)[:-200], "truncated or damaged"),
    "truncated APNG": (animation(FRAMES, "PNG")[:-200], "truncated or damaged"),
    "audio in MP4": (audio_only(), "audio only"),
    "audio in WebM": (audio_only("webm", "libopus"), "audio only"),
    "no frames": (no_frames(), "no frames"),
    "a codec nobody needs": (film(FRAMES, "matroska", "ffv1"), "pictures coded as ffv1"),
    "two hours": (
        film(FRAMES[:2], times=[0, 7_200_000]),
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
def test_bad_clips_are_named(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(InvalidMedia, match=message) as caught:
        decode_clip(data, FIELD, LIMITS, ALL)
    assert caught.value.field == FIELD
    assert caught.value.allowed


CLIPS = {"film": H264, "webm": film(FRAMES, *FILMS["vp9 webm"]), "animation": animation(FRAMES)}


@pytest.mark.parametrize("name", CLIPS)
def test_pixel_limit_holds_before_decoding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luvc_core.media.films._decode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.GifImagePlugin.GifImageFile.load", lambda _: pytest.fail("decoded"))
    with pytest.raises(InvalidMedia, match="96x64 pixels; allowed: at most 6143 pixels"):
        decode_clip(CLIPS[name], FIELD, MediaLimits(max_clip_pixels=6143), ALL)


@pytest.mark.parametrize("name", CLIPS)
def test_other_limits(name: str) -> None:
    data = CLIPS[name]
    exact = MediaLimits(
        max_clip_pixels=96 * 64, max_clip_frames=24, max_clip_bytes=len(data), max_clip_seconds=3
    )
    decode_clip(data, FIELD, exact, ALL)
    for limits, message in (
        (MediaLimits(max_clip_bytes=len(data) - 1), f"{len(data)} bytes; allowed: at most"),
        (MediaLimits(max_clip_frames=23), "24 frames; allowed: at most 23 frames"),
        (MediaLimits(max_clip_seconds=2), r"a clip of [\d.]+ s; allowed: at most 2 s"),
    ):
        with pytest.raises(InvalidMedia, match=message):
            decode_clip(data, FIELD, limits, ALL)


@pytest.mark.parametrize("name", CLIPS)
def test_kept_frames_fit_in_memory(name: str) -> None:
    limits = MediaLimits(max_clip_kept_bytes=24 * 3 * 1600)
    clip = decode_clip(CLIPS[name], FIELD, limits, ALL)
    assert len(clip.frames) == 24
    assert {frame.size for frame in clip.frames} == {(48, 32)}
    assert difference(clip.frames[9], FRAMES[9].resize((48, 32))) < 8
    alone = decode_clip(CLIPS[name], FIELD, limits, EvenSampling(1))
    assert alone.frames[0].size == (96, 64)


@pytest.mark.parametrize("name", CLIPS)
def test_the_check_ends_the_work(name: str) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise DeadlineExceeded("over")

    with pytest.raises(DeadlineExceeded):
        decode_clip(CLIPS[name], FIELD, LIMITS, ALL, check)


FUZZED = {
    **CLIPS,
    "fragments": FRAGMENTED,
    "mpeg4": film(FRAMES[:8], codec="mpeg4"),
    "webp": animation(FRAMES[:8], "WEBP"),
    "png": animation(FRAMES[:8], "PNG"),
}


@pytest.mark.filterwarnings("ignore:Invalid APNG")
@pytest.mark.parametrize("name", FUZZED)
@settings(max_examples=120, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_damage_anywhere_is_a_clip_or_a_typed_error(
    name: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(FUZZED[name])
    for place, value in changes:
        data[place % len(data)] = value
    limits = MediaLimits(max_clip_pixels=10**6)
    try:
        clip = decode_clip(bytes(data), FIELD, limits, EvenSampling(5))
    except InvalidMedia:
        return
    assert 1 <= len(clip.frames) <= 5
    assert len({frame.size for frame in clip.frames}) == 1
    assert all(frame.mode == "RGB" for frame in clip.frames)
