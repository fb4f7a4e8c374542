"""Families x media x profiles, end to end: an encoder and replicas in Ray for each, over gRPC."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from luvc.v1 import encoder_pb2_grpc

from luvc_core.chat import Message
from luvc_core.compression.profiles import profile
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import LanguageHalf, VisionHalf
from tests.core.models.test_families import OFF
from tests.support import services
from tests.support.asking import TIMEOUT, ask, failure, named
from tests.support.checkpoints import encoded, noise_image
from tests.support.families import ALL_FAMILIES, Kit
from tests.support.services import Service
from tests.support.video_files import encode_video, moving_square

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), ALL_FAMILIES]

LAYERS = 5
QUESTION = "What is it?"
MEDIA = {
    "picture": [encoded(noise_image(112, 112))],
    "odd": [encoded(noise_image(300, 80))],
    "two pictures": [encoded(noise_image(112, 112)), encoded(noise_image(60, 200))],
    "clip": [encode_video(moving_square(16))],
}
# Visual tokens of each medium: in the source, and with three quarters of rows and columns merged.
COUNTS: dict[str, dict[str, tuple[list[int], list[int]]]] = {
    "qwen2_vl": {
        "picture": ([16], [9]),
        "odd": ([33], [16]),
        "two pictures": ([16, 14], [9, 10]),
        "clip": ([12], [8]),
    },
    "qwen2_5_vl": {
        "picture": ([16], [9]),
        "odd": ([33], [16]),
        "two pictures": ([16, 14], [9, 10]),
        "clip": ([12], [8]),
    },
    "internvl": {
        "picture": ([16], [9]),
        "odd": ([80], [45]),
        "two pictures": ([16, 64], [9, 36]),
        "clip": ([64], [36]),
    },
    "llava": {
        "picture": ([36], [25]),
        "odd": ([36], [25]),
        "two pictures": ([36, 36], [25, 25]),
    },
    "llava_onevision": {
        "picture": ([81], [46]),
        "odd": ([77], [46]),
        "two pictures": ([26, 26], [17, 17]),
        "clip": ([37], [17]),
    },
}


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Service]]:
    with services.one_ray(tmp_path_factory.mktemp("one-ray")) as serve:
        yield serve


@pytest.fixture(scope="module")
def front(
    family: Kit, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[encoder_pb2_grpc.EncoderServiceStub]:  # fmt: skip
    """Run both halves of a family; yield a way to ask the encoder."""
    if family.name == "qwen2_vl":
        yield request.getfixturevalue("stack").front
        return
    decoder, logs = request.getfixturevalue("serve")(checkpoint), tmp_path_factory.mktemp("logs")
    with (
        services.encoder(checkpoint, decoder.endpoint, logs) as encoder,
        grpc.insecure_channel(encoder.wait_ready().endpoint) as channel,
    ):
        services.wait_serves(decoder, family.name)
        yield encoder_pb2_grpc.EncoderServiceStub(channel)


def stock_answer(
    media: list[bytes], family: Kit, stock: Any, vision: VisionHalf, language: LanguageHalf
) -> str:
    """Return what the whole model of transformers answers, without any service."""
    encoder = MediaEncoder(vision)
    patches = [encoder.prepare(data, "", alone=len(media) == 1) for data in media]
    tokens = encoder.encode(patches, OFF)
    ids = language.tokenize((Message("user", (*tokens, QUESTION)),)).ids
    inputs = family.stock_inputs(stock, ids, patches)
    whole = stock.generate(**inputs, max_new_tokens=8, do_sample=False)
    return language.text_of(whole[0, len(ids) :].tolist())


@pytest.mark.parametrize("kind", MEDIA)
def test_answers(
    kind: str, front: encoder_pb2_grpc.EncoderServiceStub, family: Kit, stock: Any,
    vision: VisionHalf, language: LanguageHalf,
) -> None:  # fmt: skip
    if kind == "clip" and not family.video_preprocessing:
        request = ask(*MEDIA[kind], QUESTION)
        code, text, _ = failure(lambda: list(front.Generate(request, timeout=TIMEOUT)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text.endswith(f"{family.name} takes no clips")
        return
    source, merged = COUNTS[family.name][kind]
    for name in ("off", "lossless", "balanced", "max", "luvc-paper"):
        request = ask(*MEDIA[kind], QUESTION, settings=named(name))
        pieces = list(front.Generate(request, timeout=TIMEOUT))
        usage = pieces[-1].usage
        sent = merged if name == "luvc-paper" else source
        spu = profile(name).spu
        layers = [spu.layer_counts(LAYERS, count) if spu else (count,) * LAYERS for count in sent]
        assert usage.profile == name
        assert usage.source_visual_token_count == sum(source)
        assert usage.merged_visual_token_count == sum(sent)
        assert list(usage.layer_visual_token_counts) == [
            sum(own) for own in zip(*layers, strict=True)
        ]
        # What the first layer drops has not travelled.
        assert usage.wire_byte_count == sum(counts[0] for counts in layers) * 64 * 4
        assert usage.frame_count == (4 if kind == "clip" else 0)
        if name == "off":
            expected = stock_answer(MEDIA[kind], family, stock, vision, language)
            assert "".join(piece.text for piece in pieces) == expected
        else:
            assert usage.layer_visual_token_counts[-1] == 0
