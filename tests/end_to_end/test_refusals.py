"""Bad input is refused over real gRPC with its code, naming the field."""

import struct
import zlib
from collections.abc import Callable

import grpc
import pytest
from luvc.v1 import (
    chat_pb2,
    compression_pb2,
    encoder_pb2,
)
from PIL import Image

from tests.support.asking import IMAGES, TIMEOUT, ask, failure, named, to_decoder
from tests.support.checkpoints import encoded
from tests.support.services import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def bomb() -> bytes:
    """Make a small file that would fill gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 20))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def gif() -> bytes:
    return encoded(Image.new("RGB", (32, 32)), "GIF")


def settings(**fields: object) -> compression_pb2.Compression:
    spu = compression_pb2.SpuSettings(**fields)  # type: ignore[arg-type]
    return compression_pb2.Compression(settings=compression_pb2.CompressionSettings(spu=spu))


NAN = float("nan")
RAMP = compression_pb2.ScheduleRamp(start=0.2)
RISING = compression_pb2.ScheduleKeep(shares=[1, 0.5, 0.7, 0.2, 0])
ENDLESS = compression_pb2.ScheduleKeep(shares=[1, 1, 1, 0.5, 0.5])
SHORT = compression_pb2.ScheduleKeep(shares=[1, 0])
PNG = IMAGES[0]
MEDIA = "messages[0].parts[0].media"
BAD: dict[str, tuple[Callable[[], encoder_pb2.GenerateRequest], str, str]] = {
    "not an image": (lambda: ask(b"hello world, no picture", "?x"), MEDIA, "JPEG"),
    "truncated": (lambda: ask(PNG[: len(PNG) // 2], "?x"), MEDIA, "truncated"),
    "damaged": (lambda: ask(PNG[:200] + zlib.compress(PNG), "?x"), MEDIA, "damaged"),
    "zero bytes": (lambda: ask(b"", "?x"), MEDIA, "0 bytes"),
    "unsupported type": (lambda: ask(gif(), "?x"), MEDIA, "GIF"),
    "bomb": (lambda: ask(bomb(), "?x"), MEDIA, "30000x30000"),
    "file too large": (lambda: ask(PNG + bytes(21 << 20), "?x"), MEDIA, "at most"),
    "too many pictures": (lambda: ask(*[PNG] * 17, "?x"), "messages", "17 pictures"),
    "no message": (lambda: encoder_pb2.GenerateRequest(), "messages", "empty"),
    "no part": (lambda: ask(), "messages[0].parts", "empty"),
    "empty prompt": (lambda: ask(PNG, ""), "messages", "no text"),
    "text means media": (lambda: ask("a <|image_pad|> b"), "messages[0].parts[0]", "image_pad"),
    "unknown profile": (lambda: ask("x", settings=named("no")), "compression.profile", "balanced"),
    "cutoff 0": (lambda: ask("x", settings=settings(ramp=RAMP, cutoff=0)), "spu.cutoff", "(0, 1]"),
    "cutoff 2": (lambda: ask("x", settings=settings(ramp=RAMP, cutoff=2)), "spu.cutoff", "(0, 1]"),
    "cutoff nan": (lambda: ask("x", settings=settings(ramp=RAMP, cutoff=NAN)), "spu.cutoff", "nan"),
    "rising schedule": (lambda: ask("x", settings=settings(keep=RISING)), "spu.keep.shares", "0"),
    "endless schedule": (lambda: ask("x", settings=settings(keep=ENDLESS)), "spu.keep.shares", ""),
    "short schedule": (lambda: ask(PNG, "x", settings=settings(keep=SHORT)), "spu.keep.shares", ""),
    "no schedule": (lambda: ask("x", settings=settings(cutoff=0.5)), "spu.schedule", "ramp"),
    "max tokens 0": (lambda: ask("x", max_tokens=0), "sampling.max_tokens", ">= 1"),
    "hot": (lambda: ask("x", temperature=3), "sampling.temperature", "[0, 2]"),
    "top p 0": (lambda: ask("x", top_p=0), "sampling.top_p", "(0, 1]"),
    "empty stop": (lambda: ask("x", stop=[""]), "sampling.stop", "none empty"),
    "too long": (lambda: ask("x" * 600), "messages", "at most 511"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_naming_the_field(stack: Stack, case: str) -> None:
    request, field, text = BAD[case]
    code, message, details = failure(lambda: list(stack.front.Generate(request(), timeout=TIMEOUT)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT, message
    assert details.violations, message
    assert details.violations[0].field == field
    assert text in message


def test_a_prompt_that_is_too_long_names_both_lengths(stack: Stack) -> None:
    _, message, details = failure(lambda: list(stack.front.Generate(ask("x" * 600))))
    assert details.reason == "PROMPT_TOO_LONG"
    assert "has 6" in message
    assert "511" in message


def test_encode_refuses_bad_images_by_their_place(stack: Stack) -> None:
    request = encoder_pb2.EncodeRequest(
        media=[chat_pb2.Media(data=IMAGES[0]), chat_pb2.Media(data=b"no picture")]
    )
    code, _, details = failure(lambda: stack.front.Encode(request, timeout=TIMEOUT))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.violations[0].field == "media[1]"
    code, _, details = failure(lambda: stack.front.Encode(encoder_pb2.EncodeRequest()))
    assert (code, details.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "media")


def test_the_decoder_refuses_damaged_tokens(stack: Stack) -> None:
    request = encoder_pb2.EncodeRequest(media=[chat_pb2.Media(data=IMAGES[0])])
    tokens = stack.front.Encode(request, timeout=TIMEOUT).vision_tokens
    data = bytearray(tokens[0].embeddings.data)
    data[0] ^= 1
    tokens[0].embeddings.data = bytes(data)
    code, _, details = failure(lambda: list(stack.back.Generate(to_decoder(tokens))))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.violations[0].field == "vision_tokens[0].checksum_sha256"
