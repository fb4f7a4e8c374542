"""Questions and settings are read as they were written, or are refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luvc.v1 import chat_pb2, compression_pb2, decoder_pb2, encoder_pb2
from luvc.wire.fields import duration_of, fields_of, seconds_of

from luvc_core.chat import Message
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import Keep, Ramp, SpuSettings
from luvc_core.errors import InvalidInput, InvalidSettings
from luvc_core.media.media_file import MediaFile
from luvc_core.wire.chat import read_conversation_with_tokens, write_conversation
from luvc_core.wire.compression import read_compression
from luvc_core.wire.generate import read_decoder_request, read_timeout, write_decoder_request
from tests.wire.test_vision_tokens import IDENTITY, sent, tokens


def request(*parts: chat_pb2.ContentPart, count: int) -> decoder_pb2.DecoderServiceGenerateRequest:
    return decoder_pb2.DecoderServiceGenerateRequest(
        messages=[chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, parts=parts)],
        vision_tokens=[sent(tokens(seed=i)) for i in range(count)],
    )


IMAGE = chat_pb2.ContentPart(media=chat_pb2.Media())
TEXT = chat_pb2.ContentPart(text="why?")


def test_tokens_take_the_places_of_the_media_in_order() -> None:
    got = read_decoder_request(request(IMAGE, TEXT, IMAGE, count=2), IDENTITY, {}, 1000)
    (message,) = got.messages
    assert [getattr(p, "source_positions", p) for p in message.parts] == [False, "why?", True]
    assert got.spu is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_media_part_needs_its_tokens(count: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_decoder_request(request(IMAGE, TEXT, IMAGE, count=count), IDENTITY, {}, 1000)
    assert caught.value.field == "vision_tokens"


def test_the_decoder_takes_no_image_files() -> None:
    part = chat_pb2.ContentPart(media=chat_pb2.Media(data=b"x"))
    with pytest.raises(InvalidInput) as caught:
        read_decoder_request(request(part, TEXT, count=1), IDENTITY, {}, 1000)
    assert caught.value.field == "messages[0].parts[0].media.data"


def test_a_conversation_reaches_the_decoder_without_its_files() -> None:
    image = MediaFile(b"file", "messages[1].parts[0].media")
    conversation = (Message("system", ("Be brief.",)), Message("user", (image, "what?")))
    messages = write_conversation(conversation)
    assert b"file" not in b"".join(m.SerializeToString() for m in messages)
    made = tokens()
    got = read_conversation_with_tokens(messages, [made])
    assert got == (Message("system", ("Be brief.",)), Message("user", (made, "what?")))


SPU = [
    *(p.spu for p in PROFILES.values()),
    SpuSettings(Keep((1.0, 0.3, 0.1, 0.0)), score="norm", axis="raster", normalize=False),
    SpuSettings(Ramp(0.1, 0.7, "cosine", 3, 0.9), cutoff=0.37, sampling="index"),
]


@pytest.mark.parametrize("spu", SPU)
def test_pruning_settings_arrive_as_they_left(spu: SpuSettings | None) -> None:
    question = encoder_pb2.GenerateRequest(whole_answer=True, sampling=chat_pb2.Sampling(seed=3))
    message = write_decoder_request(
        (Message("user", ("why?",)),), question, spu, timeout=1.5, request_id="r"
    )
    assert message.HasField("spu") == (spu is not None)
    got = read_decoder_request(message, IDENTITY, {}, 1000)
    assert got.spu == spu
    assert got.sampling.seed == 3
    assert read_timeout(message) == 1.5
    assert message.whole_answer


def test_a_request_without_a_choice_gets_the_default_profile() -> None:
    nothing = compression_pb2.Compression()
    assert read_compression(nothing, "max") is PROFILES["max"]
    off = compression_pb2.Compression(settings=compression_pb2.CompressionSettings())
    assert read_compression(off, "max").name == "custom"


@given(st.floats(width=32))
def test_any_number_is_taken_or_refused_as_a_setting(cutoff: float) -> None:
    ramp = compression_pb2.ScheduleRamp(start=0.1)
    spu = compression_pb2.SpuSettings(ramp=ramp, cutoff=cutoff)
    choice = compression_pb2.Compression(settings=compression_pb2.CompressionSettings(spu=spu))
    if 0 < cutoff <= 1:
        got = read_compression(choice, "off").spu
        assert got is not None
        assert got.cutoff == pytest.approx(cutoff, rel=1e-6)
    else:
        with pytest.raises(InvalidSettings, match=r"spu\.cutoff"):
            read_compression(choice, "off")


@given(st.floats(0, 1e6))
def test_durations_keep_their_nanoseconds(seconds: float) -> None:
    assert seconds_of(duration_of(seconds)) == pytest.approx(seconds, abs=2e-9)


def test_64_bit_numbers_stay_numbers() -> None:
    assert fields_of(chat_pb2.Sampling(seed=2**63, stop=["a"])) == {"seed": 2**63, "stop": ["a"]}
