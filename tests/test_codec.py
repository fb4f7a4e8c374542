"""What travels between the halves comes out as it went in, or is refused naming the field."""

import hashlib
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from luvc.fields import duration_of, fields_of, seconds_of
from luvc.v1 import chat_pb2, compression_pb2, decoder_pb2, tokens_pb2

import decoder_service.codec
import encoder_service.codec
from luvc_core.chat import Message
from luvc_core.config import Keep, Ramp, SpuSettings
from luvc_core.errors import IdentityMismatch, InvalidInput, InvalidSettings
from luvc_core.parsing import spu_from_dict
from luvc_core.profiles import PROFILES
from luvc_core.tokens import Grid, Identity, Piece, Separators, VisionTokens

IDENTITY = Identity("qwen2_vl", "some/model@1", "a" * 64, "b" * 64, "c" * 64, 8)


SMALL = Grid(1, 2, 3)


def doubled(grid: Grid, separators: Separators = "none") -> Piece:
    return Piece(grid, Grid(grid.frames, grid.rows * 2, grid.columns), separators)


def tokens(*pieces: Piece, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> VisionTokens:
    random = torch.Generator().manual_seed(seed)
    pieces = pieces or (doubled(SMALL),)
    count = sum(piece.token_count for piece in pieces)
    sizes = torch.zeros(count)
    sizes[: sum(piece.grid.token_count for piece in pieces)] = 2.0
    return VisionTokens(
        embeddings=torch.randn(count, 8, generator=random).to(dtype),
        pieces=pieces,
        positions=torch.rand(count, 3, generator=random),
        sizes=sizes,
        identity=IDENTITY,
        merge_sha256="d" * 64,
        source_positions=bool(seed % 2),
    )


def sent(made: VisionTokens) -> tokens_pb2.VisionTokens:
    data = encoder_service.codec.tokens_to(made).SerializeToString()
    return tokens_pb2.VisionTokens.FromString(data)


def signed(message: tokens_pb2.VisionTokens) -> tokens_pb2.VisionTokens:
    data = message.embeddings.data + message.positions.data + message.sizes.data
    message.checksum_sha256 = hashlib.sha256(data).digest()
    return message


def received(message: tokens_pb2.VisionTokens) -> VisionTokens:
    return decoder_service.codec.tokens_from(message, "vision_tokens[0]", IDENTITY)


GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
PIECES = st.builds(doubled, GRIDS, st.sampled_from(get_args(Separators)))


@given(
    pieces=st.lists(PIECES, min_size=1, max_size=3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 9),
)
def test_visual_tokens_arrive_as_they_left(
    pieces: list[Piece], dtype: torch.dtype, seed: int
) -> None:
    made = tokens(*pieces, dtype=dtype, seed=seed)
    got = received(sent(made))
    for name in ("embeddings", "positions", "sizes"):
        assert torch.equal(getattr(got, name), getattr(made, name))
        assert getattr(got, name).dtype == getattr(made, name).dtype
    for name in ("pieces", "identity", "merge_sha256", "source_positions"):
        assert getattr(got, name) == getattr(made, name)


def test_one_plain_grid_travels_as_in_the_first_release() -> None:
    message = sent(tokens())
    assert not message.pieces
    assert message.grid == tokens_pb2.Grid(frames=1, rows=2, columns=3)
    assert message.source_grid.rows == 4


def test_received_tensors_may_be_written_to() -> None:
    received(sent(tokens())).embeddings.zero_()


@given(
    name=st.sampled_from(["embeddings", "positions", "sizes"]),
    place=st.integers(0, 10_000),
    flip=st.integers(1, 255),
)
def test_any_changed_byte_is_noticed(name: str, place: int, flip: int) -> None:
    message = sent(tokens())
    tensor = getattr(message, name)
    data = bytearray(tensor.data)
    data[place % len(data)] ^= flip
    tensor.data = bytes(data)
    with pytest.raises(InvalidInput, match=r"vision_tokens\[0\]"):
        received(message)


@given(name=st.sampled_from(["embeddings", "positions", "sizes"]), length=st.integers(0, 200))
def test_any_other_length_is_noticed(name: str, length: int) -> None:
    message = sent(tokens())
    tensor = getattr(message, name)
    tensor.data = tensor.data[: min(length, len(tensor.data) - 1)]
    with pytest.raises(InvalidInput, match=rf"vision_tokens\[0\].{name}.data: has \d+ bytes"):
        received(signed(message))


@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_never_pass_or_crash(data: bytes) -> None:
    message = sent(tokens())
    try:
        message.MergeFromString(data)
    except Exception:
        return
    try:
        got = received(message)
    except (InvalidInput, IdentityMismatch):
        return
    assert got.embeddings.shape == (got.token_count, 8)


def broken(name: str) -> tokens_pb2.VisionTokens:
    message = sent(tokens())
    match name:
        case "embeddings.dtype":
            message.embeddings.dtype = tokens_pb2.D_TYPE_UNSPECIFIED
        case "sizes.dtype":
            message.sizes.dtype = tokens_pb2.D_TYPE_BFLOAT16
        case "embeddings.shape":
            message.embeddings.shape[1] = 9
        case "positions.shape":
            message.positions.shape.append(1)
        case "grid":
            message.grid.rows = 0
        case "source_grid":
            message.source_grid.Clear()
        case "sizes":
            message.source_grid.rows += 1
        case "positions.data":
            message.positions.data = b"\xff" * len(message.positions.data)
        case "checksum_sha256":
            message.checksum_sha256 = b""
            return message
    return signed(message)


@pytest.mark.parametrize(
    "name",
    ["embeddings.dtype", "sizes.dtype", "embeddings.shape", "positions.shape", "grid",
     "source_grid", "sizes", "positions.data", "checksum_sha256"],
)  # fmt: skip
def test_a_wrong_field_is_named(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        received(broken(name))
    assert caught.value.field == f"vision_tokens[0].{name}"


@pytest.mark.parametrize("name", ["grid", "source_grid", "separators"])
def test_a_wrong_field_of_a_piece_is_named(name: str) -> None:
    message = sent(tokens(doubled(SMALL), doubled(SMALL, "row")))
    if name == "separators":
        message.pieces[1].separators = 9
    else:
        getattr(message.pieces[1], name).rows = 0
    with pytest.raises(InvalidInput) as caught:
        received(signed(message))
    assert caught.value.field == f"vision_tokens[0].pieces[1].{name}"


def test_a_grid_that_does_not_fit_the_tensor_is_refused() -> None:
    message = sent(tokens())
    message.grid.rows = 2**32 - 1
    with pytest.raises(InvalidInput) as caught:
        received(signed(message))
    assert caught.value.field == "vision_tokens[0].embeddings.shape"


@pytest.mark.parametrize(
    ("field", "value"),
    [("family", "llava"), ("projector_sha256", "e" * 64), ("hidden_size", 16),
     ("protocol_version", 2)],
)  # fmt: skip
def test_tokens_of_another_model_are_refused(field: str, value: object) -> None:
    message = sent(tokens())
    setattr(message.identity, field, value)
    with pytest.raises(IdentityMismatch, match=field):
        received(message)


def request(*parts: chat_pb2.ContentPart, count: int) -> decoder_pb2.DecoderServiceGenerateRequest:
    return decoder_pb2.DecoderServiceGenerateRequest(
        messages=[chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, parts=parts)],
        vision_tokens=[sent(tokens(seed=i)) for i in range(count)],
    )


PICTURE = chat_pb2.ContentPart(media=chat_pb2.Media())
TEXT = chat_pb2.ContentPart(text="why?")


def test_tokens_take_the_places_of_the_media_in_order() -> None:
    got = decoder_service.codec.question_from(request(PICTURE, TEXT, PICTURE, count=2), IDENTITY)
    (message,) = got.messages
    assert [getattr(p, "source_positions", p) for p in message.parts] == [False, "why?", True]
    assert got.spu is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_media_part_needs_its_tokens(count: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        decoder_service.codec.question_from(request(PICTURE, TEXT, PICTURE, count=count), IDENTITY)
    assert caught.value.field == "vision_tokens"


def test_the_decoder_takes_no_picture_files() -> None:
    part = chat_pb2.ContentPart(media=chat_pb2.Media(data=b"x"))
    with pytest.raises(InvalidInput) as caught:
        decoder_service.codec.question_from(request(part, TEXT, count=1), IDENTITY)
    assert caught.value.field == "messages[0].parts[0].media.data"


def test_a_conversation_reaches_the_decoder_without_its_files() -> None:
    picture = encoder_service.codec.MediaFile(b"file", "messages[1].parts[0].media")
    conversation = (Message("system", ("Be brief.",)), Message("user", (picture, "what?")))
    messages = encoder_service.codec.messages_to(conversation)
    assert b"file" not in b"".join(m.SerializeToString() for m in messages)
    made = tokens()
    got = decoder_service.codec.messages_from(messages, [made])
    assert got == (Message("system", ("Be brief.",)), Message("user", (made, "what?")))


SPU = [
    *(p.spu for p in PROFILES.values()),
    SpuSettings(Keep((1.0, 0.3, 0.1, 0.0)), score="norm", axis="raster", normalize=False),
    SpuSettings(Ramp(0.1, 0.7, "cosine", 3, 0.9), cutoff=0.37, sampling="index"),
]


@pytest.mark.parametrize("spu", SPU)
def test_pruning_settings_arrive_as_they_left(spu: SpuSettings | None) -> None:
    message = decoder_pb2.DecoderServiceGenerateRequest()
    encoder_service.codec.spu_to(message, spu)
    assert message.HasField("spu") == (spu is not None)
    if spu is not None:
        assert spu_from_dict(fields_of(message.spu)) == spu


def test_a_request_without_a_choice_gets_the_default_profile() -> None:
    nothing = compression_pb2.Compression()
    assert encoder_service.codec.compression_from(nothing, "max") is PROFILES["max"]
    off = compression_pb2.Compression(settings=compression_pb2.CompressionSettings())
    assert encoder_service.codec.compression_from(off, "max").name == "custom"


@given(st.floats(width=32))
def test_any_number_is_taken_or_refused_as_a_setting(cutoff: float) -> None:
    ramp = compression_pb2.ScheduleRamp(start=0.1)
    spu = compression_pb2.SpuSettings(ramp=ramp, cutoff=cutoff)
    choice = compression_pb2.Compression(settings=compression_pb2.CompressionSettings(spu=spu))
    if 0 < cutoff <= 1:
        got = encoder_service.codec.compression_from(choice, "off").spu
        assert got is not None
        assert got.cutoff == pytest.approx(cutoff, rel=1e-6)
    else:
        with pytest.raises(InvalidSettings, match=r"spu\.cutoff"):
            encoder_service.codec.compression_from(choice, "off")


@given(st.floats(0, 1e6))
def test_durations_keep_their_nanoseconds(seconds: float) -> None:
    assert seconds_of(duration_of(seconds)) == pytest.approx(seconds, abs=2e-9)


def test_64_bit_numbers_stay_numbers() -> None:
    assert fields_of(chat_pb2.Sampling(seed=2**63, stop=["a"])) == {"seed": 2**63, "stop": ["a"]}
