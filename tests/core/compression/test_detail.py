"""Fine detail: told from the pixels, kept with the tokens, and what pruning then does."""

import io
from pathlib import Path

import numpy as np
import pytest
from luvc.v1 import compression_pb2
from PIL import Image

from benchmarks.tasks.question_files import file_questions
from luvc_core.compression.detail import detail_of
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import FINE_DETAIL, Compression, Ramp, SpuSettings
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import VisionHalf
from luvc_core.visual_tokens.blob import from_blob, to_blob
from tests.core.models.test_families import OFF
from tests.support.asking import TIMEOUT, ask, named
from tests.support.checkpoints import encoded
from tests.support.in_process_halves import decoder, encoder, pieces_of
from tests.support.video_files import encode_video, moving_square

# Columns of eight pixels, black and white in turn.
STRIPES = Image.fromarray(np.tile(np.repeat([[0, 255]], 8, axis=1), (112, 7)).astype(np.uint8))
SPU, DETAILED = SpuSettings(Ramp(0.1)), SpuSettings(Ramp(0.4))


def rendered(kind: str, n: int = 40) -> list[Image.Image]:
    return [Image.open(io.BytesIO(asked.files[0])) for asked in file_questions(kind, n)]


@pytest.mark.parametrize("kind", ["chart", "document"])
def test_charts_and_documents_have_fine_detail(kind: str) -> None:
    assert np.mean([detail_of(image) > FINE_DETAIL for image in rendered(kind)]) >= 0.95


@pytest.mark.parametrize("kind", ["count", "relation"])
def test_scenes_have_not(kind: str) -> None:
    assert np.mean([detail_of(image) > FINE_DETAIL for image in rendered(kind)]) <= 0.05


def test_what_is_flat_has_none() -> None:
    assert detail_of(Image.new("RGB", (64, 48), "teal")) == 0
    assert detail_of(Image.linear_gradient("L").convert("RGB")) == 0


@pytest.mark.parametrize("factor", [2, 3])
def test_size_does_not_matter(factor: int) -> None:
    image = rendered("document", 1)[0]
    larger = image.resize([factor * side for side in image.size], Image.Resampling.NEAREST)
    assert detail_of(larger) == pytest.approx(detail_of(image), rel=1e-6)


def test_one_detailed_image_decides_for_a_request() -> None:
    both = Compression("both", spu=SPU, detailed=DETAILED)
    assert both.spu_for([0.0, 99.0]) is DETAILED
    assert both.spu_for([0.0, FINE_DETAIL]) is both.spu_for([]) is SPU
    assert Compression("one", spu=SPU).spu_for([99.0]) is SPU


def test_tokens_say_how_detailed_their_image_is(vision: VisionHalf) -> None:
    own = MediaEncoder(vision)
    patches = [own.prepare(data, "") for data in (encoded(STRIPES), encode_video(moving_square(8)))]
    image, video = own.encode(patches, OFF)
    assert image.detail == from_blob(to_blob(image, "k"), "k").detail == detail_of(STRIPES)
    assert video.detail == 0


async def test_a_service_prunes_by_detail(vision: VisionHalf, checkpoint: Path) -> None:
    ramps = [compression_pb2.ScheduleRamp(start=start) for start in (0.1, 0.4)]
    spu, detailed = (compression_pb2.SpuSettings(ramp=ramp) for ramp in ramps)
    settings = compression_pb2.CompressionSettings(spu=spu, detailed=detailed)
    own = compression_pb2.Compression(settings=settings)
    flat = encoded(Image.new("RGB", (112, 112), "teal"))
    async with decoder(checkpoint) as (back, replica), encoder(vision, back) as (_, front):
        for media, start in (([flat], 0.1), ([flat, encoded(STRIPES)], 0.4)):
            request = ask(*media, "What?", settings=own)
            # Once encoded, and once out of the store.
            for _ in range(2):
                await pieces_of(front.Generate(request, timeout=TIMEOUT))
                assert replica.requests[-1].spu.ramp.start == pytest.approx(start)
        usage = (await pieces_of(front.Generate(ask(flat, "?", settings=named("lossless")))))[-1]
        lossless = PROFILES["lossless"].spu
        assert lossless
        expected = lossless.layer_counts(5, usage.usage.source_visual_token_count)
        assert tuple(usage.usage.layer_visual_token_counts) == expected
