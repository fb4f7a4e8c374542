"""What only LLaVA-OneVision does: newlines, pictures alone and among others, thin pictures."""

import json
from pathlib import Path

import pytest
import torch

from luvc_core.compression.settings import OimSettings
from luvc_core.models.base import VisionHalf
from luvc_core.models.registry import load_vision
from luvc_core.visual_tokens.vision_tokens import Grid, Piece
from tests.core.models.test_families import HALF, OFF, patches_of
from tests.support.checkpoints import write_checkpoint
from tests.support.families import KITS

pytestmark = pytest.mark.transformers

KIT = KITS["llava_onevision"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("llava") / "inner", KIT.name)


@pytest.fixture(scope="module")
def half(folder: Path) -> VisionHalf:
    return load_vision(str(folder), "cpu", "float32")


def test_an_inner_layer_of_the_tower_may_be_the_last(folder: Path) -> None:
    path = folder / "config.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "vision_feature_layer": -2}))
    try:
        vision = load_vision(str(folder), "cpu", "float32")
        stock = KIT.stock.from_pretrained(folder, dtype=torch.float32).eval()
    finally:
        path.write_text(before)
    patches = patches_of(vision, (112, 60))
    (expected,) = KIT.stock_tokens(stock, patches)
    (tokens,) = vision.encode(patches, OFF)
    torch.testing.assert_close(tokens.embeddings, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("oim", [OFF, HALF], ids=["off", "half"])
def test_every_row_of_the_canvas_ends_in_a_newline(half: VisionHalf, oim: OimSettings) -> None:
    (tokens,) = half.encode(patches_of(half, (112, 60)), oim)
    whole, canvas = tokens.pieces
    assert (whole.separators, canvas.separators) == ("none", "row")
    end = tokens.embeddings[-1]
    rows = tokens.embeddings[whole.token_count :].view(canvas.grid.rows, -1, len(end))
    assert torch.equal(rows[:, -1], end.expand(canvas.grid.rows, -1))
    assert not (rows[:, :-1] == end).all(-1).any()
    assert (tokens.sizes == 0).sum() == canvas.grid.rows


def test_an_image_among_others_is_shown_once(half: VisionHalf) -> None:
    (tokens,) = half.encode(patches_of(half, (112, 60), alone=False), HALF)
    assert tokens.pieces == (Piece(Grid(1, 3, 3), Grid(1, 5, 5), "piece"),)
    assert tokens.sizes.nonzero().flatten().tolist() == list(range(9))
    assert tokens.positions[-1].tolist()[2] == 5


@pytest.mark.parametrize("size", [(8, 400), (400, 8), (16, 400), (2000, 24)])
@pytest.mark.parametrize("oim", [OFF, HALF], ids=["off", "half"])
def test_thin_images_can_be_encoded(
    size: tuple[int, int], oim: OimSettings, half: VisionHalf
) -> None:
    (tokens,) = half.encode(patches_of(half, size), oim)
    assert tokens.embeddings.isfinite().all()
    assert all(piece.grid.token_count for piece in tokens.pieces)
    assert tokens.sizes.sum().item() == pytest.approx(
        sum(piece.source_grid.token_count for piece in tokens.pieces)
    )


@pytest.mark.parametrize("size", [(640, 480), (300, 80), (60, 200), (140, 140)])
@pytest.mark.parametrize("keep", [(0.5, 0.5), (0.75, 1.0), (1.0, 0.3)])
def test_the_share_that_is_kept_is_one_of_the_image_without_its_padding(
    size: tuple[int, int], keep: tuple[float, float], half: VisionHalf
) -> None:
    oim = OimSettings(keep_rows=keep[0], keep_columns=keep[1])
    (tokens,) = half.encode(patches_of(half, size), oim)
    for piece in tokens.pieces:
        source, grid = piece.source_grid, piece.grid
        assert abs(grid.rows - keep[0] * source.rows) <= 0.5
        assert abs(grid.columns - keep[1] * source.columns) <= 0.5
