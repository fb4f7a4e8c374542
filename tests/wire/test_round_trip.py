"""Whatever visual tokens are written, the same are read."""

import dataclasses

import torch
from hypothesis import given
from hypothesis import strategies as st
from luvc.v1 import tokens_pb2
from torch import Tensor

from luvc_core.visual_tokens.int8 import from_int8, to_int8
from luvc_core.visual_tokens.selection import TokenSelection
from luvc_core.visual_tokens.vision_tokens import VideoFrames, VisionTokens, even_positions
from luvc_core.wire.tensors import DTYPES, checksum, read_tensor, write_tensor
from luvc_core.wire.vision_tokens import apply_selection, write_vision_tokens
from tests.wire.test_vision_tokens import PIECES, received, tokens

DTYPE = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])
VIDEOS = st.none() | st.builds(VideoFrames, st.integers(1, 2**32 - 1), st.floats(0, 1e300))


@st.composite
def vision_tokens(draw: st.DrawFn) -> VisionTokens:
    """Draw tokens of any pieces and dtype, of an image or a video, with or without a selection."""
    pieces = draw(st.lists(PIECES, min_size=1, max_size=3))
    made = tokens(*pieces, dtype=draw(DTYPE), seed=draw(st.integers(0, 9)))
    made = dataclasses.replace(made, video=draw(VIDEOS))
    count = made.token_count
    places = draw(st.none() | st.sets(st.integers(0, count - 1), min_size=1))
    if places is None:
        return made
    indices, counts = torch.tensor(sorted(places)), None
    if draw(st.booleans()):
        counts = torch.ones_like(indices)
        counts[draw(st.integers(0, len(indices) - 1))] += count - len(indices)
    return dataclasses.replace(made, selection=TokenSelection(indices, counts))


def same(a: object, b: object) -> bool:
    if isinstance(a, TokenSelection) and isinstance(b, TokenSelection):
        return same(a.indices, b.indices) and same(a.counts, b.counts)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return a == b


def expected(made: VisionTokens, in_int8: bool, sparse: bool) -> VisionTokens:
    """Return what the reader should make of tokens once they have travelled."""
    rows = made.selected_embeddings
    rows = from_int8(*to_int8(rows)) if in_int8 else rows
    embeddings = torch.zeros(made.embeddings.shape, dtype=rows.dtype)
    embeddings[made.selection.indices if made.selection else slice(None)] = rows
    made = dataclasses.replace(made, embeddings=embeddings)
    if sparse and not made.source_positions:
        positions, sizes = even_positions(made.pieces)
        made = dataclasses.replace(made, positions=positions, sizes=sizes)
    return made


@given(made=vision_tokens(), in_int8=st.booleans(), sparse=st.booleans())
def test_tokens_are_read_as_they_were_written(
    made: VisionTokens, in_int8: bool, sparse: bool
) -> None:
    data = write_vision_tokens(made, in_int8, sparse).SerializeToString()
    got = received(tokens_pb2.VisionTokens.FromString(data))
    want = expected(made, in_int8, sparse)
    for field in dataclasses.fields(VisionTokens):
        assert same(getattr(got, field.name), getattr(want, field.name)), field.name


@given(made=vision_tokens())
def test_a_selection_applies_to_tokens_that_were_fetched(made: VisionTokens) -> None:
    message = write_vision_tokens(made)
    fetched = dataclasses.replace(made, selection=None)
    got = apply_selection(fetched, message, "vision_tokens[0]")
    assert same(got.selection, made.selection)


@given(dtype=st.sampled_from(list(DTYPES)), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_a_tensor_is_read_as_it_was_written(dtype: torch.dtype, rows: int, columns: int) -> None:
    # Transposed, so that it is not contiguous.
    made = (torch.randn(columns, rows) * 100).to(dtype).T
    assert same(read_tensor(write_tensor(made), "x", (rows, columns)), made)


def test_the_checksum_has_the_order_of_the_proto() -> None:
    sizes, scales = torch.tensor([1.0]), torch.tensor([2.0])
    one = checksum({"sizes": sizes, "scales": scales}, [3], [4])
    assert one == checksum({"scales": scales, "sizes": sizes}, [3], [4])
    assert one != checksum({"sizes": scales, "scales": sizes}, [3], [4])
    assert one != checksum({"sizes": sizes, "scales": scales}, [4], [3])
