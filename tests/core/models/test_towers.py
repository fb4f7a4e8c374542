"""Merging in the tower of every family: whole tokens on the right grids."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.compression.settings import OimSettings
from luvc_core.engine.prefill import prefill
from luvc_core.errors import InvalidSettings
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.models.vision.tower import MergePlan, run_blocks
from luvc_core.visual_tokens.vision_tokens import Piece, VisionTokens
from tests.core.models.test_families import HALF, OFF, SIZES, patches_of
from tests.support.checkpoints import ask
from tests.support.families import ALL_FAMILIES, Kit

pytestmark = pytest.mark.transformers


def tokens_of(tokens: VisionTokens) -> list[tuple[Piece, Tensor, Tensor]]:
    """Each piece with the positions and sizes of its tokens, without separators."""
    lengths = [piece.token_count for piece in tokens.pieces]
    places, sizes = tokens.positions.split(lengths), tokens.sizes.split(lengths)
    return [
        (piece, place[size > 0], size[size > 0])
        for piece, place, size in zip(tokens.pieces, places, sizes, strict=True)
    ]


@ALL_FAMILIES
@pytest.mark.parametrize("proportional", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_merging_halves_both_sides(
    size: tuple[int, int], proportional: bool, vision: VisionHalf, family: Kit
) -> None:
    settings = dataclasses.replace(HALF, proportional_attention=proportional)
    patches = patches_of(vision, size)
    plain, merged = vision.encode(patches, OFF)[0], vision.encode(patches, settings)[0]
    assert merged.source_token_count == plain.token_count
    pairs = zip(tokens_of(plain), tokens_of(merged), strict=True)
    for (before, source_places, _), (after, places, sizes) in pairs:
        assert after.source_grid == before.grid
        assert after.separators == before.separators
        assert len(sizes) == after.grid.token_count
        assert sizes.sum().item() == pytest.approx(before.grid.token_count)
        assert places.min() >= 0
        for axis, side in ((1, before.grid.rows), (2, before.grid.columns)):
            assert places[:, axis].max() <= side - 1
        for side, source in (
            (after.grid.rows, before.grid.rows),
            (after.grid.columns, before.grid.columns),
        ):
            assert side in (source // 2, (source + 1) // 2)
        if before.separators == "row":
            continue  # a canvas: what merged over the edge of the padding counts as inside
        # The centre of mass stays where it was, but for what was moved in from the edge.
        for frame in range(before.grid.frames):
            own = places[:, 0] == frame
            centre = (places * sizes[:, None])[own].sum(0) / sizes[own].sum()
            expected = source_places[source_places[:, 0] == frame].mean(0)
            torch.testing.assert_close(centre, expected, atol=0.05, rtol=0)
    assert (merged.positions % 1 != 0).any()


@ALL_FAMILIES
@pytest.mark.parametrize(
    "change",
    [
        {"metric": "hidden"},
        {"alignment": "shared"},
        {"window": 1},
        {"position": "kept"},
        {"blocks": (0.0,)},
        {"blocks": (0.5, 0.55, 0.6)},  # all the same block in a tower of four
        {"keep_rows": 1.0},
    ],
    ids=str,
)
def test_merging_in_every_way_gives_whole_tokens(
    change: dict[str, Any], vision: VisionHalf
) -> None:
    patches = patches_of(vision, (200, 112))
    tokens = vision.encode(patches, dataclasses.replace(HALF, **change))[0]
    assert tokens.embeddings.isfinite().all()
    for piece, _, sizes in tokens_of(tokens):
        torch.testing.assert_close(sizes.sum().item(), float(piece.source_grid.token_count))


@ALL_FAMILIES
def test_what_a_tower_cannot_reach_is_refused_by_name(vision: VisionHalf) -> None:
    oim = OimSettings(keep_columns=0.3, blocks=(0.5, 0.6))
    with pytest.raises(InvalidSettings, match=r"oim\.keep_columns.*allowed: \[0\.5, 1\]"):
        vision.encode(patches_of(vision, (112, 112)), oim)


@ALL_FAMILIES
def test_tiles_merge_each_by_itself(vision: VisionHalf, family: Kit) -> None:
    """A tile's merged tokens do not depend on those of the tiles beside it."""
    if not family.side:
        pytest.skip("pictures are not cut into tiles")
    (patches,) = patches_of(vision, (112, 60))
    assert patches.pixels.shape[0] > 2
    changed = dataclasses.replace(patches, pixels=patches.pixels.clone())
    changed.pixels[1:] += torch.randn(changed.pixels[1:].shape)
    one, other = (vision.encode([p], HALF)[0] for p in (patches, changed))
    first = one.pieces[0].grid.rows * one.pieces[0].grid.columns
    torch.testing.assert_close(one.embeddings[:first], other.embeddings[:first])
    assert not torch.allclose(one.embeddings, other.embeddings)


@ALL_FAMILIES
@pytest.mark.parametrize("llm_position", ["grid", "source"])
def test_merged_tokens_stand_in_the_prompt(
    llm_position: str, vision: VisionHalf, language: LanguageHalf, family: Kit
) -> None:
    settings = dataclasses.replace(HALF, llm_position=llm_position)
    (tokens,) = vision.encode(patches_of(vision, (60, 200)), settings)
    prompt = language.tokenize(ask("Look: ", tokens, " well?"))
    assert int(prompt.visual.sum()) == tokens.token_count
    logits, _ = prefill(language, prompt, None, lambda: None)
    assert logits.isfinite().all()
    if family.mrope:
        return
    places = prompt.positions[:, 0]
    text = places[~prompt.visual]
    if llm_position == "grid":
        assert torch.equal(places, torch.arange(prompt.length).float())
        return
    # Text goes on as if nothing had been merged, and tokens stand among it.
    gaps = text.diff()
    assert gaps.max() == tokens.source_token_count + 1
    assert sorted(gaps.tolist())[:-1] == [1.0] * (len(text) - 2)
    inside = places[prompt.visual] - text[gaps.argmax()] - 1
    assert inside.min() >= 0
    assert inside.max() <= tokens.source_token_count - 1
    assert prompt.next_position == prompt.length + tokens.source_token_count - tokens.token_count
    ends = inside[tokens.sizes == 0]
    if tokens.pieces[-1].separators == "row":
        # Newlines stand past the end of their row, for each on average.
        width = tokens.pieces[-1].source_grid.columns + 1
        start = tokens.pieces[0].source_token_count
        rows = tokens.positions[tokens.sizes == 0][:, 1]
        torch.testing.assert_close(ends, start + rows * width + width - 1)


def test_what_stands_outside_the_grid_never_merges() -> None:
    lengths: list[int] = []
    biases: list[Tensor] = []

    def block(module: None, hidden: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        lengths.append(hidden.shape[1])
        if bias is not None:
            biases.append(bias)
        return hidden, hidden

    oim = dataclasses.replace(HALF, proportional_attention=True, blocks=(0.0,))
    state = TokenGrid.of_source(torch.randn(3, 8, 6, 5))
    plan = MergePlan(oim, 8, 6, depth=2, multiple=2)
    merged = run_blocks([None, None], block, state, plan, prefix=torch.randn(3, 1, 5))
    assert lengths == [49, 17]
    assert merged.hidden.shape == (3, 4, 4, 5)
    (bias,) = biases
    assert bias.shape == (3, 1, 1, 17)
    assert torch.equal(bias[..., 0], torch.zeros(3, 1, 1))
    torch.testing.assert_close(bias[..., 1:].exp().sum(-1), torch.full((3, 1, 1), 48.0))
