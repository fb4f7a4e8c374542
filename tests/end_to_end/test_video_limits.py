"""What bounds a clip on its way from the request to the decoder."""

import dataclasses
import math

import pytest

from encoder_service.config import EncoderConfig
from luvc_core.errors import DeadlineExceeded, InvalidInput, InvalidMedia
from luvc_core.media.frame_sampling import EvenSampling, RateSampling
from luvc_core.media.images import MediaLimits
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import VisionHalf
from luvc_core.runtime.cli_config import config_from
from luvc_core.runtime.deadline import Deadline
from luvc_core.visual_tokens.vision_tokens import VideoFrames
from luvc_core.wire.vision_tokens import read_vision_tokens
from tests.support.families import KITS, VIDEO_FAMILIES, Kit
from tests.support.video_files import FIELD, FRAMES, animation, encode_video
from tests.wire.test_vision_tokens import IDENTITY, received, sent, tokens

GIF = animation(FRAMES)


def test_a_video_arrives_as_one() -> None:
    made = tokens()
    assert received(sent(made)).video is None
    frames = VideoFrames(7, 0.25)
    assert received(sent(dataclasses.replace(made, video=frames))).video == frames


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", 0), ("interval_seconds", math.nan), ("interval_seconds", -1.0)],
)
def test_a_wrong_field_of_a_video_is_named(name: str, value: float) -> None:
    message = sent(tokens())
    message.clip.count, message.clip.interval_seconds = 4, 0.5
    setattr(message.clip, name, value)
    with pytest.raises(InvalidInput) as caught:
        read_vision_tokens(message, "vision_tokens[0]", IDENTITY, 1000)
    assert caught.value.field == f"vision_tokens[0].clip.{name}"


@VIDEO_FAMILIES
def test_no_family_looks_at_more_frames_than_allowed(vision: VisionHalf) -> None:
    for most in (2, 3):
        patches = MediaEncoder(vision, MediaLimits(max_shown_frames=most)).prepare(GIF, FIELD)
        assert patches.video is not None
        assert patches.video.count == (2 if vision.identity.family.startswith("qwen") else most)


def test_rules_choose_no_more_than_they_are_told() -> None:
    assert len(EvenSampling(32).at_most(5).choose(100, 10.0)) == 5
    assert EvenSampling(4).at_most(5) == EvenSampling(4)
    assert len(RateSampling().at_most(9).choose(1000, 10.0)) == 8
    assert len(RateSampling().at_most(3).choose(1000, 10.0)) == 2
    assert len(RateSampling().at_most(1).choose(1000, 10.0)) == 2


def test_decoding_ends_with_its_deadline(vision: VisionHalf) -> None:
    late = Deadline.after(60).within(0, f"decoding {FIELD}")
    for video in (GIF, encode_video(FRAMES)):
        with pytest.raises(DeadlineExceeded, match=r"0 s allowed for decoding messages\[0\]"):
            MediaEncoder(vision).prepare(video, FIELD, check=late.check)


def test_the_earlier_deadline_wins() -> None:
    whole = Deadline.after(5)
    assert whole.within(60, "decoding") is whole
    assert whole.within(1, "decoding").purpose == "decoding"


@pytest.mark.parametrize("family", ["llava"], indirect=True, scope="session")
def test_a_family_of_images_refuses_videos_by_name(vision: VisionHalf, family: Kit) -> None:
    with pytest.raises(InvalidMedia, match=f"a clip; allowed: pictures: {family.name} takes no"):
        MediaEncoder(vision).prepare(GIF, FIELD)


def test_families_take_the_videos_that_they_declare() -> None:
    assert {name: "video" in kit.layout.takes for name, kit in KITS.items()} == {
        name: kit.video_preprocessing is not None for name, kit in KITS.items()
    }


@pytest.mark.parametrize(
    "flag",
    ["max-videos", "max-video-bytes", "max-shown-frames", "video-timeout", "max-active-videos"],
)
def test_junk_in_a_limit_ends_the_program(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config_from(EncoderConfig, "encoder_service", "LUVC_ENCODER_", [f"--{flag}", "0"], {})
    assert f"--{flag}: got 0" in capsys.readouterr().err
