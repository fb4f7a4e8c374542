"""Both services, as processes, over real gRPC."""

import contextlib
import io
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf import duration_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from luvc.status import Details, from_metadata
from luvc.v1 import (
    chat_pb2,
    compression_pb2,
    decoder_pb2,
    decoder_pb2_grpc,
    encoder_pb2,
    encoder_pb2_grpc,
)
from PIL import Image
from safetensors.torch import load_file, save_file

from luvc_core.chat import Message, Sampling
from luvc_core.config import profile
from luvc_core.encode import Encoder
from luvc_core.engine.engine import Engine, Request, Result
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.tokens import VisionTokens
from tests import services
from tests.fixtures import encoded, noise_picture, write_checkpoint
from tests.services import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TIMEOUT = 60.0
PICTURES = [encoded(noise_picture(w, h, seed), kind) for w, h, seed, kind in (
    (160, 120, 1, "PNG"), (120, 160, 2, "JPEG"), (224, 224, 3, "WEBP"), (112, 336, 4, "PNG"),
)]  # fmt: skip


@dataclass
class Stack:
    encoder: Service
    decoder: Service
    front: encoder_pb2_grpc.EncoderServiceStub
    back: decoder_pb2_grpc.DecoderServiceStub


@pytest.fixture(scope="module")
def stack(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    logs = tmp_path_factory.mktemp("logs")
    with (
        services.decoder(checkpoint, logs, "--ray-cpus", "2") as decoder,
        services.encoder(checkpoint, decoder.endpoint, logs) as encoder,
        grpc.insecure_channel(encoder.endpoint) as front,
        grpc.insecure_channel(decoder.endpoint) as back,
    ):
        encoder.wait_ready()
        decoder.wait_ready()
        yield Stack(
            encoder,
            decoder,
            encoder_pb2_grpc.EncoderServiceStub(front),
            decoder_pb2_grpc.DecoderServiceStub(back),
        )


def ask(
    *parts: str | bytes, settings: compression_pb2.Compression | None = None, **sampling: object
) -> encoder_pb2.GenerateRequest:
    sampling = {"max_tokens": 8} | sampling
    return encoder_pb2.GenerateRequest(
        messages=[
            chat_pb2.ChatMessage(
                role=chat_pb2.ROLE_USER,
                parts=[
                    chat_pb2.ContentPart(text=part)
                    if isinstance(part, str)
                    else chat_pb2.ContentPart(media=chat_pb2.Media(data=part))
                    for part in parts
                ],
            )
        ],
        sampling=chat_pb2.Sampling(**sampling),  # type: ignore[arg-type]
        compression=settings,
    )


def named(name: str) -> compression_pb2.Compression:
    return compression_pb2.Compression(profile=name)


def in_process(
    vision: VisionHalf, language: LanguageHalf, text: str, pictures: list[bytes], name: str,
    max_tokens: int = 8,
) -> tuple[str, Result, list[VisionTokens]]:  # fmt: skip
    """The same answer without any service."""
    chosen = profile(name)
    encoder = Encoder(vision)
    tokens = encoder.encode([encoder.prepare(p, "") for p in pictures], chosen.oim)
    session = Engine(language).start(
        Request((Message("user", (*tokens, text)),), Sampling(max_tokens), chosen.spu)
    )
    answer = ""
    while (event := session.step()) is not None:
        answer += event.text
        if event.result:
            return answer, event.result, tokens
    raise AssertionError("no result")


def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, Details]:
    """How a call fails: always with details of ours, never with a traceback."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    text = error.details()
    assert text
    assert "Traceback" not in text
    assert 'File "' not in text
    details = from_metadata(error.trailing_metadata())
    assert details is not None, error
    return error.code(), text, details


@pytest.mark.parametrize("name", ["off", "lossless", "balanced", "max"])
def test_a_streamed_answer_is_that_of_the_engine(
    stack: Stack, vision: VisionHalf, language: LanguageHalf, name: str
) -> None:
    picture = PICTURES[2]
    expected, result, tokens = in_process(vision, language, "What is it?", [picture], name)
    pieces = list(
        stack.front.Generate(ask(picture, "What is it?", settings=named(name)), timeout=TIMEOUT)
    )
    assert "".join(p.text for p in pieces) == expected
    assert [p.HasField("usage") for p in pieces] == [False] * (len(pieces) - 1) + [True]
    usage = pieces[-1].usage
    assert usage.prompt_token_count == result.prompt_token_count
    assert usage.completion_token_count == result.completion_token_count
    assert usage.source_visual_token_count == tokens[0].source_grid.token_count
    assert usage.merged_visual_token_count == tokens[0].grid.token_count
    assert list(usage.layer_visual_token_counts) == list(result.layer_visual_token_counts)
    assert usage.layer_averaged_visual_token_count == pytest.approx(
        sum(result.layer_visual_token_counts) / 5
    )
    assert usage.wire_byte_count == tokens[0].grid.token_count * 64 * 4
    assert usage.uncompressed_byte_count == tokens[0].source_grid.token_count * 64 * 4
    assert usage.profile == name
    if name != "off":
        assert usage.layer_visual_token_counts[-1] == 0


def test_every_stage_is_timed(stack: Stack) -> None:
    usage = list(stack.front.Generate(ask(PICTURES[0], "Why?"), timeout=TIMEOUT))[-1].usage
    times = {f.name: v.ToNanoseconds() for f, v in usage.times.ListFields()}
    assert set(times) == {f.name for f in usage.times.DESCRIPTOR.fields}
    stages = ("media", "encode_queue", "encode", "transfer", "prefill_queue", "prefill", "decode")
    assert sum(times[s] for s in stages) <= times["total"]
    assert times["time_to_first_token"] <= times["total"]


def test_text_alone_is_answered_without_visual_tokens(
    stack: Stack, vision: VisionHalf, language: LanguageHalf
) -> None:
    expected, _, _ = in_process(vision, language, "Hello", [], "lossless")
    pieces = list(stack.front.Generate(ask("Hello"), timeout=TIMEOUT))
    assert "".join(p.text for p in pieces) == expected
    usage = pieces[-1].usage
    assert usage.source_visual_token_count == usage.wire_byte_count == 0
    assert not usage.times.HasField("encode")


def test_concurrent_answers_are_those_given_one_at_a_time(
    stack: Stack, vision: VisionHalf, language: LanguageHalf
) -> None:
    cases = [
        (f"Question {i}?", PICTURES[i % 4 : i % 4 + 1 + i % 2], ("off", "balanced", "max")[i % 3])
        for i in range(32)
    ]

    def answer(case: tuple[str, list[bytes], str]) -> str:
        text, pictures, name = case
        request = ask(*pictures, text, settings=named(name))
        return "".join(p.text for p in stack.front.Generate(request, timeout=TIMEOUT))

    with ThreadPoolExecutor(len(cases)) as pool:
        answers = list(pool.map(answer, cases))
    for (text, pictures, name), got in zip(cases, answers, strict=True):
        assert got == in_process(vision, language, text, pictures, name)[0]


def test_encode_gives_tokens_that_the_decoder_takes(stack: Stack) -> None:
    response = stack.front.Encode(
        encoder_pb2.EncodeRequest(
            media=[chat_pb2.Media(data=p) for p in PICTURES], compression=named("balanced")
        ),
        timeout=TIMEOUT,
    )
    assert len(response.vision_tokens) == 4
    pieces = list(stack.back.Generate(to_decoder(response.vision_tokens[:1]), timeout=TIMEOUT))
    assert (
        pieces[-1].usage.merged_visual_token_count == len(response.vision_tokens[0].sizes.data) // 4
    )


def to_decoder(tokens: object) -> decoder_pb2.DecoderServiceGenerateRequest:
    return decoder_pb2.DecoderServiceGenerateRequest(
        messages=[
            chat_pb2.ChatMessage(
                role=chat_pb2.ROLE_USER,
                parts=[
                    chat_pb2.ContentPart(media=chat_pb2.Media()),
                    chat_pb2.ContentPart(text="What?"),
                ],
            )
        ],
        vision_tokens=tokens,  # type: ignore[arg-type]
        sampling=chat_pb2.Sampling(max_tokens=2),
    )


def bomb() -> bytes:
    """A small file that would fill a gigabyte."""
    buffer = io.BytesIO()
    Image.new("1", (30000, 30000)).save(buffer, "PNG")
    return buffer.getvalue()


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
PNG = PICTURES[0]
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
    "short schedule": (lambda: ask(PNG, "x", settings=settings(keep=SHORT)), "spu.keep", "5"),
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


def test_encode_refuses_bad_pictures_by_their_place(stack: Stack) -> None:
    request = encoder_pb2.EncodeRequest(
        media=[chat_pb2.Media(data=PICTURES[0]), chat_pb2.Media(data=b"no picture")]
    )
    code, _, details = failure(lambda: stack.front.Encode(request, timeout=TIMEOUT))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.violations[0].field == "media[1]"
    code, _, details = failure(lambda: stack.front.Encode(encoder_pb2.EncodeRequest()))
    assert (code, details.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "media")


def test_the_decoder_refuses_damaged_tokens(stack: Stack) -> None:
    request = encoder_pb2.EncodeRequest(media=[chat_pb2.Media(data=PICTURES[0])])
    tokens = stack.front.Encode(request, timeout=TIMEOUT).vision_tokens
    data = bytearray(tokens[0].embeddings.data)
    data[0] ^= 1
    tokens[0].embeddings.data = bytes(data)
    code, _, details = failure(lambda: list(stack.back.Generate(to_decoder(tokens))))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.violations[0].field == "vision_tokens[0].checksum_sha256"


LONG = ask("Tell me everything.", max_tokens=400)


def timed(request: encoder_pb2.GenerateRequest, name: str, seconds: float) -> object:
    copy = encoder_pb2.GenerateRequest()
    copy.CopyFrom(request)
    copy.request_id = name
    copy.timeout.CopyFrom(duration_pb2.Duration(nanos=int(seconds % 1 * 1e9), seconds=int(seconds)))
    return copy


def test_at_the_deadline_the_call_ends_and_so_does_the_work(stack: Stack) -> None:
    start = time.monotonic()
    request = timed(LONG, "late", 0.4)
    code, message, details = failure(lambda: list(stack.front.Generate(request, timeout=TIMEOUT)))
    assert (code, details.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert "0.4 s" in message
    assert time.monotonic() - start < 5
    assert token_count(stack.decoder.wait_log("request late left after")) < 399


def test_the_decoder_keeps_deadlines_by_itself(stack: Stack) -> None:
    request = decoder_pb2.DecoderServiceGenerateRequest(
        messages=LONG.messages,
        sampling=LONG.sampling,
        timeout=duration_pb2.Duration(nanos=300_000_000),
        request_id="tardy",
    )
    code, _, _ = failure(lambda: list(stack.back.Generate(request, timeout=TIMEOUT)))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert token_count(stack.decoder.wait_log("request tardy left after")) < 399


def test_cancelling_stops_the_work(stack: Stack) -> None:
    call = stack.front.Generate(timed(LONG, "dropped", 50), timeout=TIMEOUT)
    next(call)
    call.cancel()
    assert token_count(stack.decoder.wait_log("request dropped left after")) < 399


def token_count(line: str) -> int:
    return int(line.split(" after ")[1].split()[0])


def test_health_and_reflection_on_both(stack: Stack) -> None:
    for service, name in (
        (stack.encoder, "luvc.v1.EncoderService"),
        (stack.decoder, "luvc.v1.DecoderService"),
    ):
        with grpc.insecure_channel(service.endpoint) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for asked in ("", name):
                request = health_pb2.HealthCheckRequest(service=asked)
                assert health.Check(request, timeout=TIMEOUT).status == 1
            with pytest.raises(grpc.RpcError) as caught:
                health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=TIMEOUT)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            known = ProtoReflectionDescriptorDatabase(channel)
            assert {name, "grpc.health.v1.Health"} <= set(known.get_services())
            assert known.FindFileContainingSymbol(name).package == "luvc.v1"


def test_without_a_decoder_calls_are_unavailable_in_time(checkpoint: Path, tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{services.free_port()}"
    with (
        services.encoder(checkpoint, nobody, tmp_path) as encoder,
        grpc.insecure_channel(encoder.wait_ready().endpoint) as channel,
    ):
        front = encoder_pb2_grpc.EncoderServiceStub(channel)
        start = time.monotonic()
        request = timed(ask(PICTURES[0], "x"), "lonely", 4)
        code, message, _ = failure(lambda: list(front.Generate(request, timeout=TIMEOUT)))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert nobody in message
        assert time.monotonic() - start < 4


def test_halves_of_different_checkpoints_refuse_each_other(stack: Stack, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "another")
    weights = load_file(other / "model.safetensors")
    name = next(n for n in sorted(weights) if "merger" in n)
    save_file(weights | {name: weights[name] + 1}, other / "model.safetensors")
    with (
        services.encoder(other, stack.decoder.endpoint, tmp_path) as encoder,
        grpc.insecure_channel(encoder.wait_ready().endpoint) as channel,
    ):
        front = encoder_pb2_grpc.EncoderServiceStub(channel)
        code, message, details = failure(lambda: list(front.Generate(ask(PICTURES[0], "x"))))
        assert (code, details.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IDENTITY_MISMATCH")
        assert "qwen2_vl/another" in message
        assert "qwen2_vl/random-qwen2-vl" in message
        # The decoder says the same by itself.
        tokens = front.Encode(
            encoder_pb2.EncodeRequest(media=[chat_pb2.Media(data=PICTURES[0])])
        ).vision_tokens
        code, _, _ = failure(lambda: list(stack.back.Generate(to_decoder(tokens))))
        assert code is grpc.StatusCode.FAILED_PRECONDITION


def test_full_means_refused_and_stopping_lets_answers_finish(
    stack: Stack, checkpoint: Path, tmp_path: Path
) -> None:
    flags = ("--max-active", "1", "--max-waiting", "0")
    with (
        services.encoder(checkpoint, stack.decoder.endpoint, tmp_path, *flags) as encoder,
        grpc.insecure_channel(encoder.wait_ready().endpoint) as channel,
    ):
        front = encoder_pb2_grpc.EncoderServiceStub(channel)
        call = front.Generate(LONG, timeout=TIMEOUT)
        first = next(call)
        code, _, details = failure(lambda: list(front.Generate(ask("x"), timeout=TIMEOUT)))
        assert (code, details.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        ended = threading.Thread(target=encoder.stop)
        ended.start()
        with (
            contextlib.suppress(grpc.FutureTimeoutError),
            grpc.insecure_channel(encoder.endpoint) as late,
        ):
            wait_until_refused(encoder_pb2_grpc.EncoderServiceStub(late))
        pieces = [first, *call]
        ended.join()
    assert pieces[-1].usage.completion_token_count > 100
    assert encoder.process.returncode == 0


def wait_until_refused(front: encoder_pb2_grpc.EncoderServiceStub) -> None:
    """New calls end UNAVAILABLE once the service has been told to stop."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with pytest.raises(grpc.RpcError) as caught:
            list(front.Generate(ask("x"), timeout=TIMEOUT))
        if caught.value.code() is grpc.StatusCode.UNAVAILABLE:
            return
        time.sleep(0.05)
    raise AssertionError("new calls are still taken")
