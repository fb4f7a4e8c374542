"""A later question about the same media: by digest, reused, resent where that is needed."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from luvc import AsyncClient, ResourceExhausted, Unavailable
from luvc._retry import KeptMedia, RetryState
from luvc.errors import NotFound
from luvc.requests import Options, question_about
from luvc.v1 import chat_pb2, encoder_pb2, usage_pb2

from luvc_core.models.base import VisionHalf
from tests.end_to_end.test_references import refusal
from tests.support.asking import IMAGES, LONG, TIMEOUT, ask, named
from tests.support.checkpoints import encoded, noise_image
from tests.support.in_process_halves import decoder, encoder, pieces_of
from tests.support.video_files import FRAMES, encode_video


def by_digest(request: encoder_pb2.GenerateRequest) -> encoder_pb2.GenerateRequest:
    short = encoder_pb2.GenerateRequest()
    short.CopyFrom(request)
    for part in short.messages[0].parts:
        if part.WhichOneof("part") == "media":
            digest = hashlib.sha256(part.media.data).digest()
            part.media.CopyFrom(chat_pb2.Media(digest_sha256=digest))
    return short


async def answer(front: Any, request: Any) -> tuple[str, usage_pb2.Usage]:
    pieces = await pieces_of(front.Generate(request, timeout=TIMEOUT))
    return "".join(p.text for p in pieces), pieces[-1].usage


async def test_a_second_question_needs_no_pixels(vision: VisionHalf, checkpoint: Path) -> None:
    request = ask(IMAGES[0], encode_video(FRAMES[:3]), "What is it?", settings=named("balanced"))
    async with decoder(checkpoint) as (back, _), encoder(vision, back) as (_, front):
        text, usage = await answer(front, request)
        assert (usage.reused_media_count, usage.media_kept) == (0, True)
        assert usage.times.HasField("encode")
        again, later = await answer(front, by_digest(request))
        assert again == text
        assert later.reused_media_count == 2
        assert later.frame_count == usage.frame_count > 0
        assert not later.times.HasField("encode")
        # The cascade runs anew, from the full merged set.
        assert later.layer_visual_token_counts == usage.layer_visual_token_counts


async def test_what_is_not_kept_is_named(vision: VisionHalf, checkpoint: Path) -> None:
    short = by_digest(ask(IMAGES[1], "What is it?"))
    async with (
        decoder(checkpoint) as (back, _),
        encoder(vision, back) as (_, front),
        encoder(vision, back, store="none") as (_, forgetful),
    ):
        code, text, details = await refusal(front.Generate(short))
        assert (code, details.reason) == (grpc.StatusCode.NOT_FOUND, "TOKENS_EXPIRED")
        assert hashlib.sha256(IMAGES[1]).hexdigest() in text
        # Kept with other settings is not kept.
        await answer(front, ask(IMAGES[1], "What is it?", settings=named("luvc-paper")))
        assert (await refusal(front.Generate(short)))[0] is grpc.StatusCode.NOT_FOUND
        _, usage = await answer(forgetful, ask(IMAGES[1], "What is it?"))
        assert not usage.media_kept
        assert (await refusal(forgetful.Generate(short)))[0] is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("digest", [b"x" * 32, b"short"])
async def test_a_wrong_digest_is_refused(
    vision: VisionHalf, checkpoint: Path, digest: bytes
) -> None:
    request = ask(IMAGES[0], "x")
    request.messages[0].parts[0].media.digest_sha256 = digest
    async with decoder(checkpoint) as (back, _), encoder(vision, back) as (_, front):
        code, _, details = await refusal(front.Generate(request))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.violations[0].field == "messages[0].parts[0].media.digest_sha256"


async def test_the_client_sends_media_once_and_again_when_they_are_gone(
    vision: VisionHalf, checkpoint: Path
) -> None:
    # Room for the tokens of one picture.
    room = 8_000
    images = [encoded(noise_image(112, 112, seed)) for seed in (1, 2)]
    async with (
        decoder(checkpoint) as (back, _),
        encoder(vision, back, store_bytes=room) as (endpoint, _),
        AsyncClient(endpoint) as client,
    ):
        first = await client.ask("What?", images[0], max_tokens=4)
        assert first.usage.media_kept
        again = await client.ask("What?", images[0], max_tokens=4)
        assert again.usage.reused_media_count == 1
        assert client._kept.all_known([hashlib.sha256(images[0]).digest()])
        for _ in range(3):
            for image in images:
                got = await client.ask("What?", image, max_tokens=4)
                assert got.text == first.text or image is images[1]
        assert got.usage.reused_media_count == 0


async def test_a_later_attempt_ends_an_earlier_one(vision: VisionHalf, checkpoint: Path) -> None:
    request = encoder_pb2.GenerateRequest()
    request.CopyFrom(LONG)
    request.idempotency_key = "one question"
    async with decoder(checkpoint) as (back, _), encoder(vision, back) as (_, front):
        earlier = front.Generate(request, timeout=TIMEOUT)
        await anext(aiter(earlier))
        request.sampling.max_tokens = 3
        _, usage = await answer(front, request)
        assert usage.completion_token_count == 3
        code, _, details = await refusal(earlier)
        assert (code, details.reason) == (grpc.StatusCode.ABORTED, "SUPERSEDED")


async def test_full_means_refused_with_a_hint_and_compressed_where_that_is_allowed(
    vision: VisionHalf, checkpoint: Path
) -> None:
    full = {"max_active": 1, "max_waiting": 1}
    async with (
        decoder(checkpoint) as (back, _),
        encoder(vision, back, **full) as (endpoint, front),
        AsyncClient(endpoint) as client,
    ):
        call = front.Generate(LONG, timeout=TIMEOUT)
        await call.read()
        waiting = ask(IMAGES[0], "What?", settings=named("off"))
        waiting.degradation = encoder_pb2.DEGRADATION_COMPRESS_MORE
        compressed = front.Generate(waiting, timeout=TIMEOUT)
        code, _, details = await refused_when_full(front)
        assert (code, details.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert details.retry_after == 0.5
        with pytest.raises(ResourceExhausted) as caught:
            await client.ask("What?", retries=0)
        assert caught.value.retry_after == 0.5
        patient = asyncio.create_task(client.ask("What?", max_tokens=2, retries=50))
        call.cancel()
        usage = (await pieces_of(compressed))[-1].usage
        assert (usage.profile, list(usage.degradations)) == ("max", ["compressed_more"])
        assert (await patient).usage.completion_token_count == 2


async def refused_when_full(front: Any) -> Any:
    """How a call is refused, once another one waits for its turn."""
    async with asyncio.timeout(20):
        while True:
            call = front.Generate(ask("x", max_tokens=1), timeout=0.2)
            if await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return await refusal(call)


def question(kept: KeptMedia, **options: Any) -> RetryState:
    return RetryState(question_about("What?", [b"pixels"]), Options(**options), kept)


def test_what_is_worth_sending_again() -> None:
    kept = KeptMedia()
    attempts = question(kept, retries=2)
    first = attempts.request()
    first_pause, second_pause, third = (
        attempts.pause_after(Unavailable("UNAVAILABLE", "")) for _ in range(3)
    )
    assert not first.whole_answer
    assert RetryState([], Options(), kept, whole=True).request().whole_answer
    assert first_pause == pytest.approx(0.1, rel=0.5)
    assert second_pause == pytest.approx(0.2, rel=0.5)
    assert third is None
    assert attempts.request().idempotency_key == first.idempotency_key != ""
    assert question(kept).request().idempotency_key != first.idempotency_key
    slow = ResourceExhausted("RESOURCE_EXHAUSTED", "", 3.0)
    assert question(kept).pause_after(slow) == 3.0
    assert question(kept, timeout=2).pause_after(slow) is None
    assert question(kept).pause_after(NotFound("NOT_FOUND", "")) is None


def test_kept_media_go_by_digest_until_they_are_gone() -> None:
    kept = KeptMedia()
    attempts = question(kept)
    media = attempts.request().messages[0].parts[0].media
    assert media.data == b"pixels"
    attempts.answered(encoder_pb2.GenerateResponse(usage=usage_pb2.Usage(media_kept=True)))
    attempts = question(kept)
    media = attempts.request().messages[0].parts[0].media
    assert (media.data, media.digest_sha256) == (b"", hashlib.sha256(b"pixels").digest())
    assert attempts.pause_after(NotFound("NOT_FOUND", "")) == 0
    assert attempts.request().messages[0].parts[0].media.data == b"pixels"
    assert not question(kept).request().messages[0].parts[0].media.digest_sha256
