"""Send two tenants' equal images: the second tenant must learn nothing of the first one's."""

import hashlib
import statistics
import time

import grpc
from luvc.access import metadata_of
from luvc.requests import Options
from luvc.v1 import chat_pb2, encoder_pb2_grpc

from benchmarks.chaos.judged_load import Asker
from benchmarks.chaos.outcomes import Outcome, Row, ending_of, row
from benchmarks.chaos.testbed import KEYS, Testbed
from benchmarks.common.noise_images import encoded, noise_image

_PAIRS = 12


async def tenants(testbed: Testbed) -> list[Row]:
    """Check that a tenant finds no images of another one, by digest or by time.

    By digest they are not there; by their data they are encoded again, and take as long as images
    that nobody has sent.
    """
    rounds = max(_PAIRS // 2, _PAIRS * testbed.size.load // 32)
    known = [encoded(noise_image(168, 168, 100 + i)) for i in range(rounds)]
    fresh = [encoded(noise_image(168, 168, 200 + i)) for i in range(rounds)]
    async with (
        testbed.asking(testbed.first_encoder) as first,
        testbed.asking(testbed.first_encoder, tenant="two") as second,
    ):
        truths = [await _answer(first, image) for image in known]
        by_digest = [await _by_digest(testbed, image) for image in known]
        ours, others, outcomes = [], [], []
        for one, other, (text, _, _) in zip(known, fresh, truths, strict=True):
            again, reused, took = await _answer(second, one)
            # Right text made anew; had it been reused, it would be the first one's.
            outcomes.append(Outcome("wrong" if reused or again != text else "answered", "OK", took))
            ours.append(took)
            others.append((await _answer(second, other))[2])
    ratio = statistics.median(ours) / statistics.median(others)
    facts = {"time_of_known_to_unknown": round(ratio, 2)}
    # A hit would take a fraction: what is compared is the whole answer, its encode included.
    demands = {f"a known picture takes {ratio:.2f} of an unknown one's time": 0.5 < ratio < 2}
    return [
        row("another tenant's digests", by_digest, codes=("NOT_FOUND",)),
        row("another tenant's pictures", outcomes, facts, demands, ()),
    ]


async def _answer(asker: Asker, image: bytes) -> tuple[str, int, float]:
    """Ask about an image; return the text, how many media were reused, and the seconds.

    Raises:
        LuvcError: what the question failed with.
    """
    start = time.monotonic()
    answer = await asker.client.ask("What?", image, max_tokens=2, timeout=asker.patience)
    return answer.text, answer.usage.reused_media_count, time.monotonic() - start


async def _by_digest(testbed: Testbed, image: bytes) -> Outcome:
    """Ask by digest alone, past the client, which would send the image after NOT_FOUND."""
    start = time.monotonic()
    media = chat_pb2.Media(digest_sha256=hashlib.sha256(image).digest())
    parts = [chat_pb2.ContentPart(media=media), chat_pb2.ContentPart(text="What?")]
    message = chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, parts=parts)
    request = Options(max_tokens=2, timeout=testbed.size.patience).request([message])
    async with grpc.aio.insecure_channel(testbed.first_encoder.endpoint) as channel:
        generate = encoder_pb2_grpc.EncoderServiceStub(channel).Generate
        who = metadata_of(KEYS["two"])
        try:
            async for _ in generate(request, timeout=testbed.size.patience, metadata=who):
                pass
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
    # Whoever is answered has learnt something of another tenant.
    return Outcome("wrong" if code == "OK" else ending_of(code), code, time.monotonic() - start)
