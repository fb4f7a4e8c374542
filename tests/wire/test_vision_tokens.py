"""Visual tokens: what travels between the halves arrives as it left, or is refused by field."""

import dataclasses
import hashlib
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from luvc.v1 import tokens_pb2

from luvc_core.errors import IdentityMismatch, InvalidInput
from luvc_core.visual_tokens.blob import from_blob, to_blob
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, Separators, VisionTokens
from luvc_core.wire.vision_tokens import read_vision_tokens, write_vision_tokens

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
    data = write_vision_tokens(made).SerializeToString()
    return tokens_pb2.VisionTokens.FromString(data)


def signed(message: tokens_pb2.VisionTokens) -> tokens_pb2.VisionTokens:
    data = message.embeddings.data + message.positions.data + message.sizes.data
    message.checksum_sha256 = hashlib.sha256(data).digest()
    return message


def received(message: tokens_pb2.VisionTokens) -> VisionTokens:
    return read_vision_tokens(message, "vision_tokens[0]", IDENTITY, 1000)


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


@given(
    seed=st.integers(0, 99),
    exponent=st.integers(-99, 99),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_in_eight_bits_no_number_is_off_by_more_than_half_a_scale(
    seed: int, exponent: int, dtype: torch.dtype
) -> None:
    made = tokens(dtype=torch.float32, seed=seed)
    embeddings = (made.embeddings * 2.0**exponent).to(dtype)
    embeddings[0] = 0
    made = dataclasses.replace(made, embeddings=embeddings)
    message = write_vision_tokens(made, in_int8=True)
    assert len(message.embeddings.data) == embeddings.numel()
    exact = embeddings.double()
    bound = exact.abs().amax(dim=1, keepdim=True) / 254 * (1 + 1e-4)
    for got in (received(message), from_blob(to_blob(made, "k", in_int8=True), "k")):
        assert ((got.embeddings.double() - exact).abs() <= bound).all()
        assert torch.equal(got.positions, made.positions)


def test_scales_that_are_harmed_are_noticed() -> None:
    message = write_vision_tokens(tokens(), in_int8=True)
    message.scales.data = b"\0" * len(message.scales.data)
    with pytest.raises(InvalidInput, match="checksum"):
        received(message)
    message.scales.data = message.scales.data[:-4]
    with pytest.raises(InvalidInput, match=r"scales.data: has"):
        received(message)


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
