"""Tiles on a canvas, and its padding cut off."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.llava_onevision.modeling_llava_onevision import unpad_image

from luvc_core.compression.algorithms.merging import merge_grid
from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.models.vision.anyres import join_tiles, shrink, unpad

pytestmark = pytest.mark.transformers


def test_tiles_join_to_the_raster_that_they_were_cut_from() -> None:
    side, canvas = 3, (2, 4)
    whole = TokenGrid.of_source(torch.randn(1, 6, 12, 5))
    tiles = [whole.hidden[0, r : r + side, c : c + side] for r in (0, 3) for c in (0, 3, 6, 9)]
    joined = join_tiles(TokenGrid.of_source(torch.stack(tiles)), canvas, side)
    assert torch.equal(joined.hidden, whole.hidden)
    assert torch.equal(joined.positions, whole.positions)


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    height=st.integers(10, 3000),
    width=st.integers(10, 3000),
)
def test_padding_is_cut_as_stock_cuts_it(rows: int, columns: int, height: int, width: int) -> None:
    state = TokenGrid.of_source(torch.arange(rows * columns).view(1, rows, columns, 1))
    expected = unpad_image(state.hidden[0].movedim(-1, 0), (height, width))[0]
    cut, left_rows, left_columns = unpad(state, rows, columns, (height, width))
    assert (left_rows, left_columns) == tuple(expected.shape)
    if expected.numel():
        assert torch.equal(cut.hidden[0, :, :, 0], expected)
        assert cut.positions.min() == 0


@pytest.mark.parametrize("height", [40, 60, 80])
def test_a_merged_image_loses_nothing_to_its_padding(height: int) -> None:
    """Flat padding merges first: cut by its share, a canvas would lose rows of the picture."""
    rows = columns = 20
    pad = (rows - int(height / 100 * rows)) // 2
    hidden = torch.zeros(1, rows, columns, 8) + 1
    generator = torch.Generator().manual_seed(height)
    hidden[:, pad : rows - pad] = torch.randn(1, rows - 2 * pad, columns, 8, generator=generator)
    state = merge_grid(TokenGrid.of_source(hidden), 10, 10, hidden)
    cut, left, _ = unpad(state, rows, columns, (height, 100))
    shown = rows - 2 * pad
    assert left == shown
    assert cut.rows >= shown // 2
    assert cut.sizes.sum() >= 0.97 * shown * columns
    assert cut.positions[..., 0].max() <= shown - 1


@pytest.mark.parametrize("target", [1, 2, 7])
def test_a_thin_image_never_merges_away(target: int) -> None:
    hidden = torch.ones(1, 27, 54, 4)
    state = merge_grid(TokenGrid.of_source(hidden), target, target, hidden)
    for size in ((2, 100), (100, 5)):
        cut, rows, columns = unpad(state, 27, 54, size)
        assert min(rows, columns) >= 1
        assert min(cut.rows, cut.columns) >= 1
        assert cut.positions.min() >= 0


def test_shrinking_keeps_positions_and_sizes_of_a_plain_grid() -> None:
    state = TokenGrid.of_source(torch.randn(1, 9, 12, 4))
    small = shrink(state, (6, 8), (9, 12), (6, 8))
    expected = TokenGrid.of_source(small.hidden)
    torch.testing.assert_close(small.positions, expected.positions)
    torch.testing.assert_close(small.sizes, expected.sizes)
