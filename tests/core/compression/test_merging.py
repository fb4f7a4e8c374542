"""OIM: invariants that must hold for any grid."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luvc_core.compression.algorithms.merging import merge_grid, smallest_side
from luvc_core.compression.algorithms.token_grid import TokenGrid

torch.set_num_threads(1)
quick = settings(deadline=None, derandomize=True, max_examples=60)
choices = st.fixed_dictionaries(
    {
        "window": st.sampled_from([0, 1, 3]),
        "alignment": st.sampled_from(["per_line", "shared"]),
        "position": st.sampled_from(["mean", "kept"]),
    }
)


@st.composite
def cases(draw):
    """Draw a grid that has been merged once before or not, its metric, and a target."""
    frames, rows, columns = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 9)),
        draw(st.integers(1, 9)),
    )
    noise = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    hidden = torch.randn(frames, rows, columns, 6, generator=noise)
    state = TokenGrid.of_source(hidden)
    if draw(st.booleans()):
        state = merge_grid(state, (rows + 1) // 2, (columns + 1) // 2, hidden)
    metric = torch.randn(frames, state.rows, state.columns, 4, generator=noise)
    target = draw(st.integers(1, state.rows)), draw(st.integers(1, state.columns))
    return state, metric, target


@quick
@given(case=cases(), choice=choices)
def test_a_full_grid_in_which_every_source_token_counts(case, choice):
    state, metric, target = case
    merged = merge_grid(state, *target, metric, **choice)
    frames, dim = state.hidden.shape[0], state.hidden.shape[3]
    assert merged.hidden.shape == (frames, *target, dim)
    assert merged.sizes.shape == (frames, *target)
    assert merged.positions.shape == (frames, *target, 2)
    assert torch.equal(merged.sizes.sum((1, 2)), state.sizes.sum((1, 2)))
    assert merged.sizes.min() >= 1

    def mass(grid: TokenGrid, x: Tensor) -> Tensor:
        return (grid.sizes.unsqueeze(-1) * x).sum((1, 2))

    torch.testing.assert_close(mass(merged, merged.hidden), mass(state, state.hidden))
    if choice["position"] == "mean":
        torch.testing.assert_close(mass(merged, merged.positions), mass(state, state.positions))


@quick
@given(case=cases(), choice=choices)
def test_merging_nothing_changes_no_bit(case, choice):
    state, metric, _ = case
    assert merge_grid(state, state.rows, state.columns, metric, **choice) is state


@quick
@given(case=cases(), choice=choices)
def test_frames_do_not_leak(case, choice):
    state, metric, target = case
    together = merge_grid(state, *target, metric, **choice)
    for f in range(len(metric)):
        one = TokenGrid(*(t[f : f + 1] for t in (state.hidden, state.sizes, state.positions)))
        alone = merge_grid(one, *target, metric[f : f + 1], **choice)
        assert torch.equal(alone.sizes[0], together.sizes[f])
        torch.testing.assert_close(alone.hidden[0], together.hidden[f])
        torch.testing.assert_close(alone.positions[0], together.positions[f])


@quick
@given(case=cases(), choice=choices)
def test_equal_tokens_merge_to_themselves(case, choice):
    state, metric, target = case
    token = state.hidden[0, 0, 0].clone()
    same = TokenGrid(token.expand_as(state.hidden), state.sizes, state.positions)
    merged = merge_grid(same, *target, metric, **choice)
    assert torch.equal(merged.hidden, token.expand_as(merged.hidden))


@quick
@given(case=cases(), position=st.sampled_from(["mean", "kept"]))
def test_neighbours_that_merge_stay_in_order(case, position):
    state, metric, (_, columns) = case
    source = TokenGrid.of_source(state.hidden)
    columns = max(columns, smallest_side(state.columns))
    wide = merge_grid(source, state.rows, columns, metric, window=1, position=position)
    assert (wide.positions[:, :, :, 1].diff(dim=2) > 0).all()
    rows = torch.arange(state.rows).float().view(1, -1, 1)
    assert torch.equal(wide.positions[..., 0], rows.expand_as(wide.positions[..., 0]))


@quick
@given(case=cases())
def test_shared_choices_keep_the_grid_separable(case):
    state, metric, target = case
    merged = merge_grid(
        TokenGrid.of_source(state.hidden), *target, metric, window=1, alignment="shared"
    )
    row, column = merged.positions.unbind(-1)
    torch.testing.assert_close(row, row[:, :, :1].expand_as(row))
    torch.testing.assert_close(column, column[:, :1].expand_as(column))
    assert (row.diff(dim=1) > 0).all()
    assert (column.diff(dim=2) > 0).all()


def test_transposed_images_merge_alike_along_one_axis():
    noise = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 6, 8, 5, generator=noise)
    wide = merge_grid(TokenGrid.of_source(hidden), 6, 5, hidden)
    tall = merge_grid(TokenGrid.of_source(hidden.transpose(1, 2)), 5, 6, hidden.transpose(1, 2))
    torch.testing.assert_close(wide.hidden, tall.hidden.transpose(1, 2))
    assert torch.equal(wide.positions.flip(-1), tall.positions.transpose(1, 2))


def test_a_flat_line_shrinks_evenly():
    merged = merge_grid(
        TokenGrid.of_source(torch.ones(1, 1, 16, 3)), 1, 12, torch.ones(1, 1, 16, 3)
    )
    assert merged.sizes.flatten().tolist() == [2, 1, 1] * 4


def test_what_is_alike_merges_and_what_stands_out_stays():
    metric = torch.eye(8)[[0, 0, 1, 2, 3, 3, 4, 5]].view(1, 1, 8, 8)
    merged = merge_grid(TokenGrid.of_source(metric), 1, 6, metric)
    assert merged.sizes.flatten().tolist() == [2, 1, 1, 2, 1, 1]
    assert merged.positions[0, 0, :, 1].tolist() == [0.5, 2, 3, 4.5, 6, 7]
    kept = merge_grid(TokenGrid.of_source(metric), 1, 6, metric, position="kept")
    assert kept.positions[0, 0, :, 1].tolist() == [1, 2, 3, 5, 6, 7]


def test_several_tokens_may_merge_into_one():
    metric = torch.eye(6)[[0, 0, 0, 1, 0, 2]].view(1, 1, 6, 6)
    merged = merge_grid(TokenGrid.of_source(metric), 1, 3, metric)
    assert merged.sizes.flatten().tolist() == [4, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_and_unmerged_tokens_keep_their_bits(dtype):
    hidden = torch.randn(1, 1, 8, 4).to(dtype)
    merged = merge_grid(TokenGrid.of_source(hidden), 1, 6, hidden)
    assert merged.hidden.dtype == dtype
    assert merged.sizes.dtype == merged.positions.dtype == torch.float32
    alone = merged.sizes[0, 0] == 1
    places = merged.positions[0, 0, alone, 1].long()
    assert torch.equal(merged.hidden[0, 0, alone], hidden[0, 0, places])


@pytest.mark.parametrize("target", [(0, 4), (5, 4), (4, 0), (4, 5)])
def test_impossible_targets_are_named(target):
    hidden = torch.ones(1, 4, 4, 2)
    with pytest.raises(ValueError, match=r"cannot merge 4 (rows|columns) to [05]"):
        merge_grid(TokenGrid.of_source(hidden), *target, hidden)


def test_one_dimensional_merging_would_scramble_the_grid():
    """Why lines merge, not the flattened sequence: equally many tokens, but no grid is left."""
    noise = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, 8, 8, 6, generator=noise)
    flat = merge_grid(
        TokenGrid.of_source(hidden.view(1, 1, 64, 6)), 1, 48, hidden.view(1, 1, 64, 6)
    )
    lines = merge_grid(TokenGrid.of_source(hidden), 8, 6, hidden, position="kept")
    kept = merge_grid(
        TokenGrid.of_source(hidden.view(1, 1, 64, 6)),
        1,
        48,
        hidden.view(1, 1, 64, 6),
        position="kept",
    )
    assert flat.sizes.numel() == lines.sizes.numel() == 48
    rows = kept.positions[0, 0, :, 1].div(8, rounding_mode="floor").view(8, 6)
    assert not torch.equal(rows, rows[:, :1].expand_as(rows))
    assert torch.equal(lines.positions[0, :, :, 0], torch.arange(8.0).view(8, 1).expand(8, 6))
