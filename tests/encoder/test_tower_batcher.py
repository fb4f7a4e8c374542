"""Pictures of different requests in one batch: who goes in with whom, and what comes out."""

import asyncio
import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from luvc import AsyncClient

from encoder_service.config import EncoderConfig
from encoder_service.encoding.executor import EncodingExecutor
from encoder_service.encoding.tower_batcher import TowerBatcher
from luvc_core.compression.settings import OimSettings
from luvc_core.errors import InvalidSettings
from luvc_core.media.media_file import MediaFile
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import Patches, VisionHalf
from luvc_core.runtime.deadline import Deadline
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support import in_process_halves
from tests.support.checkpoints import encoded, noise_image

OFF, HALF = OimSettings(), OimSettings(keep_rows=0.5, keep_columns=0.5)


class Gate:
    """A vision half's `encode` that waits to be let through, and remembers its batches."""

    def __init__(self, vision: VisionHalf) -> None:
        self._vision = vision
        self.open = threading.Event()
        self.batches: list[int] = []

    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        assert self.open.wait(60)
        self.batches.append(len(patches))
        return self._vision.encode(patches, oim)


@pytest.fixture
def gate(vision: VisionHalf) -> Gate:
    return Gate(vision)


async def test_what_came_meanwhile_and_fits_goes_in_together(
    gate: Gate, vision: VisionHalf
) -> None:
    queue = TowerBatcher(gate.encode, max_batch=3)
    large, small = (vision.preprocess(noise_image(side, side)) for side in (112, 56))
    asked = [(large, OFF), (large, OFF), (small, OFF), (large, OFF), (large, HALF), (large, OFF),
             (large, OFF)]  # fmt: skip
    jobs = [asyncio.create_task(queue.submit(*one)) for one in asked]
    await asyncio.sleep(0)
    gate.open.set()
    async with asyncio.timeout(60):
        found = await asyncio.gather(*jobs)
    # The first went in alone; then three of the others like the second, the small one, and so on.
    assert gate.batches == [1, 3, 1, 1, 1]
    for done, (patches, oim) in zip(found, asked, strict=True):
        (alone,) = vision.encode([patches], oim)
        torch.testing.assert_close(done.tokens.embeddings, alone.embeddings, atol=1e-5, rtol=1e-5)
        assert done.began <= done.ended
    queue.close()


async def test_who_left_is_never_started(gate: Gate, vision: VisionHalf) -> None:
    queue = TowerBatcher(gate.encode, max_batch=3)
    patches = vision.preprocess(noise_image(56, 56))
    jobs = [asyncio.create_task(queue.submit(patches, OFF)) for _ in range(4)]
    await asyncio.sleep(0)
    jobs[2].cancel()
    await asyncio.sleep(0)
    gate.open.set()
    async with asyncio.timeout(60):
        found = await asyncio.gather(*jobs, return_exceptions=True)
    assert gate.batches == [1, 2]
    assert [type(one).__name__ for one in found] == [
        "TowerResult",
        "TowerResult",
        "CancelledError",
        "TowerResult",
    ]
    queue.close()


async def test_an_error_ends_its_batch_and_no_other(vision: VisionHalf) -> None:
    queue = TowerBatcher(vision.encode, max_batch=3)
    patches = vision.preprocess(noise_image(56, 56))
    bad = OimSettings(keep_rows=0.3, blocks=(0.0, 0.01))
    async with asyncio.timeout(60):
        found = await asyncio.gather(
            *(queue.submit(patches, oim) for oim in (OFF, bad, bad, OFF)), return_exceptions=True
        )
    assert [isinstance(one, InvalidSettings) for one in found] == [False, True, True, False]
    queue.close()


async def test_videos_go_in_alone(gate: Gate, vision: VisionHalf) -> None:
    queue = TowerBatcher(gate.encode, max_batch=3)
    frame = vision.preprocess(noise_image(56, 56))
    video = dataclasses.replace(frame, video=object())
    jobs = [asyncio.create_task(queue.submit(one, OFF)) for one in (frame, video, video)]
    await asyncio.sleep(0)
    gate.open.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*jobs, return_exceptions=True)
    assert gate.batches == [1, 1, 1]
    queue.close()


async def test_on_a_cpu_every_byte_is_as_alone_by_default(vision: VisionHalf) -> None:
    """Twelve pictures at once, of two sizes, as the service's own settings have it."""
    work = EncodingExecutor(MediaEncoder(vision), EncoderConfig())
    files = [
        MediaFile(encoded(noise_image(side, side, seed)), "media")
        for seed in range(6)
        for side in (112, 56)
    ]
    deadline = Deadline.after(60)
    found = await asyncio.gather(*(work.run(file, "image", True, OFF, deadline) for file in files))
    work.close()
    for file, (tokens, spans) in zip(files, found, strict=True):
        (alone,) = vision.encode([MediaEncoder(vision).prepare(file.data, "")], OFF)
        assert torch.equal(tokens.embeddings, alone.embeddings)
        assert min(spans.media, spans.queue, spans.encode) >= 0


async def test_requests_get_the_answers_that_they_get_alone(
    checkpoint: Path, vision: VisionHalf
) -> None:
    """Through both halves in batches, pictures of two sizes at once, then one after the other."""
    images = [encoded(noise_image(side, side, seed)) for seed in range(4) for side in (112, 56)]
    async with (
        in_process_halves.decoder(checkpoint) as (endpoint, _),
        in_process_halves.encoder(vision, endpoint, store="none", max_batch=4) as (front, _),
        AsyncClient(front) as client,
        asyncio.timeout(120),
    ):
        together = await asyncio.gather(*(client.ask("Why?", p, max_tokens=6) for p in images))
        alone = [await client.ask("Why?", p, max_tokens=6) for p in images]
    assert [a.text for a in together] == [a.text for a in alone]
