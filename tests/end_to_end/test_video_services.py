"""Clips through both services, over real gRPC: answered, or refused by name."""

import grpc
import pytest
from luvc.v1 import chat_pb2, encoder_pb2

from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import LanguageHalf, VisionHalf
from tests.end_to_end.test_services import in_process
from tests.support.asking import IMAGES, TIMEOUT, ask, failure, named, to_decoder
from tests.support.checkpoints import noise_image
from tests.support.services import Stack
from tests.support.video_files import (
    FRAMES,
    VIDEO_FORMATS,
    animation,
    audio_only,
    encode_video,
    moving_square,
    no_frames,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KINDS = {
    "mp4": encode_video(FRAMES),
    "webm": encode_video(FRAMES, *VIDEO_FORMATS["vp9 webm"]),
    "gif": animation(FRAMES),
    "webp": animation(FRAMES, "WEBP"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["off", "max", "luvc-paper"])
def test_an_answer_about_a_video_is_that_of_the_engine(
    kind: str, name: str, stack: Stack, vision: VisionHalf, language: LanguageHalf
) -> None:
    video, question = KINDS[kind], "What moves?"
    expected, result, (tokens,) = in_process(vision, language, question, [video], name)
    pieces = list(stack.front.Generate(ask(video, question, settings=named(name)), timeout=TIMEOUT))
    assert "".join(p.text for p in pieces) == expected
    usage = pieces[-1].usage
    assert tokens.video is not None
    # Two frames a second of 3 s, or of a GIF's 2.88.
    assert usage.frame_count == tokens.video.count == (6 if kind in ("mp4", "webm") else 4)
    assert usage.source_visual_token_count == tokens.source_token_count
    assert usage.merged_visual_token_count == tokens.token_count
    assert list(usage.layer_visual_token_counts) == list(result.layer_visual_token_counts)


def test_images_and_videos_stand_among_text(
    stack: Stack, vision: VisionHalf, language: LanguageHalf
) -> None:
    media = [IMAGES[0], KINDS["mp4"], IMAGES[1]]
    expected, _, tokens = in_process(vision, language, "Which?", media, "lossless")
    pieces = list(stack.front.Generate(ask(*media, "Which?"), timeout=TIMEOUT))
    assert "".join(p.text for p in pieces) == expected
    assert [t.video is not None for t in tokens] == [False, True, False]
    assert pieces[-1].usage.frame_count == 6


def test_encoded_videos_say_so_and_the_decoder_takes_them(stack: Stack, vision: VisionHalf) -> None:
    media = [chat_pb2.Media(data=data) for data in (IMAGES[0], KINDS["mp4"])]
    response = stack.front.Encode(encoder_pb2.EncodeRequest(media=media), timeout=TIMEOUT)
    image, video = response.vision_tokens
    assert not image.HasField("clip")
    assert (video.clip.count, video.clip.interval_seconds) == (6, 0.5)
    assert video.grid.frames == 3
    assert video.grid == video.source_grid
    patches = MediaEncoder(vision).prepare(KINDS["mp4"], "")
    assert video.grid.rows == patches.grid.rows // 2
    pieces = list(stack.back.Generate(to_decoder([video]), timeout=TIMEOUT))
    assert pieces[-1].usage.merged_visual_token_count == len(video.sizes.data) // 4


BAD = {
    "truncated": (KINDS["mp4"][:-300], "300 bytes are missing"),
    "no frames": (no_frames(), "no frames"),
    "too long": (encode_video(FRAMES[:2], times=[0, 7_200_000]), "at most 600 s"),
    "too many bytes": (animation([noise_image(280, 280, i) for i in range(8)]), "at most 100000"),
    "too many pixels": (animation(moving_square(3, 400, 300)), "at most 100000 pixels"),
    "audio": (audio_only(), "a clip with a picture track"),
    "not a clip": (b"RIFF\0\0\0\0AVI LIST", "for clips MP4, WebM"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_videos_are_refused_by_name(name: str, stack: Stack) -> None:
    data, allowed = BAD[name]
    code, text, details = failure(
        lambda: list(stack.front.Generate(ask("Look: ", data, "?"), timeout=TIMEOUT))
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("messages[0].parts[1].media: ")
    assert allowed in text
    assert details.violations[0].field == "messages[0].parts[1].media"


def test_too_many_videos_are_refused(stack: Stack) -> None:
    videos = [KINDS["gif"]] * 3
    code, text, _ = failure(
        lambda: list(stack.front.Generate(ask(*videos, "Which?"), timeout=TIMEOUT))
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text == "messages: 3 clips; allowed: at most 2"
