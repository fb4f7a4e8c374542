"""Answers of both services, as processes, over real gRPC."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from luvc.v1 import (
    chat_pb2,
    encoder_pb2,
)

from luvc_core.chat import Message, SamplingParams
from luvc_core.compression.profiles import profile
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request, Result
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.asking import IMAGES, TIMEOUT, ask, named, to_decoder
from tests.support.checkpoints import encoded, noise_image
from tests.support.services import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def in_process(
    vision: VisionHalf, language: LanguageHalf, text: str, images: list[bytes], name: str,
    max_tokens: int = 8,
) -> tuple[str, Result, list[VisionTokens]]:  # fmt: skip
    """Make the same answer without any service."""
    chosen = profile(name)
    encoder = MediaEncoder(vision)
    tokens = encoder.encode([encoder.prepare(p, "") for p in images], chosen.oim)
    spu = chosen.spu_for(image.detail for image in tokens)
    generation = RequestProcessor(language).start(
        Request((Message("user", (*tokens, text)),), SamplingParams(max_tokens), spu)
    )
    answer = ""
    while (event := generation.step()) is not None:
        answer += event.text
        if event.result:
            return answer, event.result, tokens
    raise AssertionError("no result")


@pytest.mark.parametrize("name", ["off", "lossless", "balanced", "max", "luvc-paper"])
def test_a_streamed_answer_is_that_of_the_engine(
    stack: Stack, vision: VisionHalf, language: LanguageHalf, name: str
) -> None:
    image = IMAGES[2]
    expected, result, tokens = in_process(vision, language, "What is it?", [image], name)
    pieces = list(
        stack.front.Generate(ask(image, "What is it?", settings=named(name)), timeout=TIMEOUT)
    )
    assert "".join(p.text for p in pieces) == expected
    assert [p.HasField("usage") for p in pieces] == [False] * (len(pieces) - 1) + [True]
    usage = pieces[-1].usage
    assert usage.prompt_token_count == result.prompt_token_count
    assert usage.completion_token_count == result.completion_token_count
    assert usage.source_visual_token_count == tokens[0].source_token_count
    assert usage.merged_visual_token_count == tokens[0].token_count
    assert list(usage.layer_visual_token_counts) == list(result.layer_visual_token_counts)
    assert usage.layer_averaged_visual_token_count == pytest.approx(
        sum(result.layer_visual_token_counts) / 5
    )
    # What the first layer drops has not travelled.
    assert usage.wire_byte_count == result.layer_visual_token_counts[0] * 64 * 4
    assert usage.uncompressed_byte_count == tokens[0].source_token_count * 64 * 4
    assert usage.profile == name
    if name != "off":
        assert usage.layer_visual_token_counts[-1] == 0


def test_every_stage_is_timed(stack: Stack) -> None:
    unseen = encoded(noise_image(140, 112, 77))
    usage = list(stack.front.Generate(ask(unseen, "Why?"), timeout=TIMEOUT))[-1].usage
    times = {f.name: v.ToNanoseconds() for f, v in usage.times.ListFields()}
    assert set(times) == {f.name for f in usage.times.DESCRIPTOR.fields}
    stages = ("media", "encode_queue", "encode", "transfer", "prefill_queue", "prefill")
    assert sum(times[s] for s in stages) <= times["time_to_first_token"] <= times["total"]
    assert times["decode"] <= times["total"]


def test_a_whole_answer_comes_in_one_piece_and_says_when_it_began(stack: Stack) -> None:
    request = ask(IMAGES[1], "Tell me everything.", max_tokens=100)
    pieces = list(stack.front.Generate(request, timeout=TIMEOUT))
    request.whole_answer = True
    [whole] = stack.front.Generate(request, timeout=TIMEOUT)
    assert len(pieces) > 1
    assert whole.text == "".join(piece.text for piece in pieces)
    assert whole.finish_reason == pieces[-1].finish_reason
    # Between the halves it is told when it begins, as then the encoder lets go of the tokens.
    encode = encoder_pb2.EncodeRequest(media=[request.messages[0].parts[0].media])
    asked = to_decoder(stack.front.Encode(encode, timeout=TIMEOUT).vision_tokens)
    asked.whole_answer = True
    begun, end = stack.back.Generate(asked, timeout=TIMEOUT)
    assert (begun.text, begun.HasField("usage")) == ("", False)
    assert end.HasField("usage")
    times = {f.name: v.ToNanoseconds() for f, v in whole.usage.times.ListFields()}
    # Its first text was made before the last, and did not travel for as long as it waited.
    assert times["transfer"] + times["decode"] < times["total"]
    assert times["time_to_first_token"] < times["total"] - times["decode"] / 2


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
        (
            f"Question {i}?",
            IMAGES[i % 4 : i % 4 + 1 + i % 2],
            ("off", "lossless", "balanced", "max", "luvc-paper")[i % 5],
        )
        for i in range(32)
    ]

    def answer(case: tuple[str, list[bytes], str]) -> str:
        text, images, name = case
        request = ask(*images, text, settings=named(name))
        return "".join(p.text for p in stack.front.Generate(request, timeout=TIMEOUT))

    with ThreadPoolExecutor(len(cases)) as pool:
        answers = list(pool.map(answer, cases))
    for (text, images, name), got in zip(cases, answers, strict=True):
        assert got == in_process(vision, language, text, images, name)[0]


def test_encode_gives_tokens_that_the_decoder_takes(stack: Stack) -> None:
    response = stack.front.Encode(
        encoder_pb2.EncodeRequest(
            media=[chat_pb2.Media(data=p) for p in IMAGES], compression=named("balanced")
        ),
        timeout=TIMEOUT,
    )
    assert len(response.vision_tokens) == 4
    pieces = list(stack.back.Generate(to_decoder(response.vision_tokens[:1]), timeout=TIMEOUT))
    assert (
        pieces[-1].usage.merged_visual_token_count == len(response.vision_tokens[0].sizes.data) // 4
    )


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
