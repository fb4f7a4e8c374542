"""What only Qwen2.5-VL does: blocks that attend within windows, on any grid."""

import json

import pytest
import torch

from luvc_core.models.base import VisionHalf
from luvc_core.models.qwen2_5_vl import Qwen25VLVision
from luvc_core.models.registry import load_vision
from luvc_core.models.tower_rotary import rotary_block
from tests.fixtures import write_checkpoint
from tests.test_families import OFF, patches_of

WINDOW = 4  # patches


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> VisionHalf:
    """Windows in every block."""
    folder = write_checkpoint(tmp_path_factory.mktemp("windows") / "model", "qwen2_5_vl")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["fullatt_block_indexes"] = []
    (folder / "config.json").write_text(json.dumps(config))
    return load_vision(str(folder), "cpu", "float32")


def test_nothing_passes_between_windows(half: VisionHalf) -> None:
    one, other = patches_of(half, (140, 112), (140, 112))
    # Patches come in blocks of 2 x 2, rows of five blocks: the first two are in the first window.
    other.pixels[:8] = one.pixels[:8]
    other.pixels[20:28] = one.pixels[20:28]
    first, second = half.encode([one, other], OFF)
    same = (first.embeddings - second.embeddings).abs().amax(1) < 1e-5
    assert same.view(4, 5).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("grid", [(8, 8), (4, 4), (6, 4), (10, 14), (2, 2), (3, 9)], ids=str)
@pytest.mark.parametrize("proportional", [False, True])
def test_windows_equal_a_mask_on_full_attention(
    grid: tuple[int, int], proportional: bool, half: VisionHalf
) -> None:
    assert isinstance(half, Qwen25VLVision)
    rows, columns = grid
    random = torch.Generator().manual_seed(rows)
    hidden = torch.randn(2, rows, columns, 64, generator=random)
    positions = torch.rand(2, rows, columns, 2, generator=random) * 9
    sizes = torch.randint(1, 5, (2, rows, columns), generator=random)
    rotary = half._vision_rotary(positions)
    bias = sizes.flatten(1)[:, None, None].float().log() if proportional else None
    block = half._tower.blocks[0]
    tokens, keys = half._run_block(0, block, hidden, rotary, bias)

    row, column = torch.arange(rows) // WINDOW, torch.arange(columns) // WINDOW
    window = torch.cartesian_prod(row, column)
    apart = (window[:, None] != window).any(-1)
    mask = torch.zeros(apart.shape).masked_fill(apart, float("-inf"))
    expected, metric = rotary_block(
        block, hidden.flatten(1, 2), rotary, mask if bias is None else mask + bias
    )
    torch.testing.assert_close(tokens.flatten(1, 2), expected)
    torch.testing.assert_close(keys, metric)
