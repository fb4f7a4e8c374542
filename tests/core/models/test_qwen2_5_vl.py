"""What only Qwen2.5-VL does: blocks that attend within windows, on any grid; frames in seconds."""

import dataclasses
import json
from typing import Any

import pytest
import torch
from transformers.video_utils import VideoMetadata

from luvc_core.errors import InvalidInput
from luvc_core.media.video_request import Video
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.models.families.qwen2_5_vl import Qwen25VLVision
from luvc_core.models.registry import load_vision
from luvc_core.models.vision.rotary_tower import rotary_block
from luvc_core.visual_tokens.vision_tokens import VideoFrames
from tests.core.models.test_families import HALF, OFF, patches_of
from tests.core.models.test_video_families import videos_of
from tests.support.checkpoints import ask, noise_image, write_checkpoint
from tests.support.families import BEFORE_5_18, Kit

pytestmark = pytest.mark.transformers

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


@pytest.mark.parametrize("family", ["qwen2_5_vl"], indirect=True, scope="session")
class TestTime:
    """Positions of frames are seconds, of a clip as it was sampled."""

    # Frames of the file and its rate: whole positions, fractions, ties, more than fit.
    @pytest.mark.parametrize(
        ("count", "rate"),
        [(40, 20.0), (37, 30000 / 1001), (250, 25.0), (96, 24.0), (1000, 15.0), (9, 7.0), (3, 1.0)],
    )
    def test_positions_equal_stock_for_any_rate(
        self, count: int, rate: float, vision: VisionHalf, language: LanguageHalf, stock: Any,
        family: Kit,
    ) -> None:  # fmt: skip
        assert vision.sampling is not None
        chosen = vision.sampling.choose(count, rate)
        frames = tuple(noise_image(56, 56, i) for i in range(len(chosen)))
        times = tuple(index / rate for index in chosen)
        patches = vision.preprocess_video(Video(frames, times, count, count / rate, rate))
        (tokens,) = vision.encode([patches], OFF)
        prompt = language.tokenize(ask("Before ", tokens, " after."))

        metadata = VideoMetadata(total_num_frames=count, fps=rate, frames_indices=chosen)
        if BEFORE_5_18 and 2 % metadata.sampled_fps:
            pytest.skip("the stock model cuts the time from frame to frame to whole seconds")
        inputs = family.stock_inputs(stock, prompt.ids, [patches])
        inputs["second_per_grid_ts"] = torch.tensor([2 / metadata.sampled_fps])
        positions, delta = stock.model.get_rope_index(**inputs)
        assert torch.equal(prompt.positions, positions[:, 0].T.float())
        assert prompt.next_position == prompt.length + delta.item()

    @pytest.mark.parametrize("where", ["grid", "source"])
    def test_merging_leaves_frames_at_their_times(
        self, where: str, vision: VisionHalf, language: LanguageHalf
    ) -> None:
        patches = videos_of(vision, (112, 112))
        oim = dataclasses.replace(HALF, llm_position=where)
        (tokens,) = vision.encode(patches, oim)
        tokens = dataclasses.replace(tokens, video=VideoFrames(4, 0.7))
        prompt = language.tokenize(ask(tokens, "?"))
        places = prompt.positions[prompt.visual]
        start = int(prompt.visual.nonzero()[0])
        # 4 positions a second, 1.4 s from one pair of frames to the next.
        assert (places[:, 0] - start).unique().tolist() == [0, 5]
        if where == "source":
            torch.testing.assert_close(places[:, 1:], tokens.positions[:, 1:] + start)

    @pytest.mark.parametrize("interval", [70.0, 1e30, 1e300])
    def test_frames_too_far_apart_are_refused(
        self, interval: float, vision: VisionHalf, language: LanguageHalf
    ) -> None:
        (tokens,) = vision.encode(videos_of(vision, (112, 112)), HALF)
        tokens = dataclasses.replace(tokens, video=VideoFrames(4, interval))
        refusal = r"vision_tokens\[0\]\.clip: its frames reach .*; allowed: positions below 512"
        with pytest.raises(InvalidInput, match=refusal):
            language.tokenize(ask(tokens, "?"))
