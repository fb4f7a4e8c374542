"""Send equal images at the same moment to two encoders, and count how often they are encoded."""

import asyncio
import time
from collections.abc import Sequence

import grpc
from luvc.access import metadata_of
from luvc.v1 import chat_pb2, encoder_pb2, encoder_pb2_grpc
from PIL import Image

from benchmarks.chaos.outcomes import Outcome, Row, ending_of, row
from benchmarks.chaos.testbed import KEYS, Testbed
from benchmarks.common.noise_images import encoded
from benchmarks.common.service_processes import RestartableService

_ENCODING = "luvc_core.store.cache: encoding"


async def single_flight(testbed: Testbed) -> list[Row]:
    """Check for one encode among all, and one more where its owner is killed in the middle."""
    return [await _together(testbed), await _owner_killed(testbed)]


async def _together(testbed: Testbed) -> Row:
    image, encoders = _image("navy"), (testbed.first_encoder, testbed.second_encoder)
    before = _encodes(encoders)
    async with asyncio.timeout(2 * testbed.size.patience):
        ended = await asyncio.gather(
            *(_encode(testbed, encoders[i % 2], image) for i in range(testbed.size.equal))
        )
    encodes = _encodes(encoders) - before
    demands = {f"{encodes} encodes": encodes == 1}
    return row("equal pictures", _judged(ended), {"encodes": encodes}, demands, ())


async def _owner_killed(testbed: Testbed) -> Row:
    image, encoders = _image("teal"), (testbed.second_encoder, testbed.first_encoder)
    owner, other = encoders
    before, half = _encodes(encoders), testbed.size.equal // 2
    before_owner = _encodes([owner])
    lost = [asyncio.create_task(_encode(testbed, owner, image)) for _ in range(half)]
    async with asyncio.timeout(testbed.size.patience):
        while await asyncio.to_thread(_encodes, [owner]) == before_owner:
            await asyncio.sleep(0.002)
    # It stays in the middle, however long the others take.
    owner.pause()
    kept = [asyncio.create_task(_encode(testbed, other, image)) for _ in range(half)]
    # They have found the lease, then.
    await asyncio.sleep(0.1)
    await asyncio.to_thread(owner.kill)
    ended = await asyncio.gather(*lost, *kept)
    encodes = _encodes(encoders) - before
    await asyncio.to_thread(lambda: owner.start().wait_ready(testbed.size.start_seconds))
    demands = {
        f"{encodes} encodes": encodes == 2,
        "the other encoder lost some": all(code == "OK" for _, code, _ in ended[half:]),
    }
    facts = {"encodes": encodes}
    return row("equal pictures, owner killed", _judged(ended), facts, demands, ("UNAVAILABLE",))


async def _encode(
    testbed: Testbed, encoder: RestartableService, image: bytes
) -> tuple[bytes, str, float]:
    """Encode an image over gRPC; return the tokens' checksum, the code and the seconds.

    The checksum is empty where there are no tokens.
    """
    start = time.monotonic()
    request = encoder_pb2.EncodeRequest(media=[chat_pb2.Media(data=image)])
    async with grpc.aio.insecure_channel(encoder.endpoint) as channel:
        stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        try:
            call = stub.Encode(
                request, timeout=testbed.size.patience, metadata=metadata_of(KEYS["one"])
            )
            (tokens,) = (await call).vision_tokens
        except grpc.aio.AioRpcError as error:
            return b"", error.code().name, time.monotonic() - start
    return tokens.checksum_sha256, "OK", time.monotonic() - start


def _judged(ended: Sequence[tuple[bytes, str, float]]) -> list[Outcome]:
    """Judge answers by the first checksum, as all must be the same."""
    truth = next((checksum for checksum, _, _ in ended if checksum), b"")
    return [
        Outcome("wrong" if code == "OK" and checksum != truth else ending_of(code), code, seconds)
        for checksum, code, seconds in ended
    ]


def _encodes(encoders: Sequence[RestartableService]) -> int:
    return sum(encoder.log.count(_ENCODING) for encoder in encoders)


def _image(colour: str) -> bytes:
    """Make a small file that takes a good part of a second to decode: time to be killed in."""
    return encoded(Image.new("RGB", (4000, 4000), colour))
