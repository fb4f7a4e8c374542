"""What only the families of Qwen do: positions with axes, in tower and LLM, and frames."""

import dataclasses
from typing import Any

import pytest
import torch

from luvc_core.compression.settings import OimSettings
from luvc_core.engine.prefill import prefill
from luvc_core.models.base import LanguageHalf, Patches, VisionHalf
from luvc_core.visual_tokens.vision_tokens import Grid, Piece
from tests.core.models.test_families import CONVERSATIONS, conversation, patches_of
from tests.support.checkpoints import ask
from tests.support.families import Kit

pytestmark = [
    pytest.mark.transformers,
    pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"], indirect=True, scope="session"),
]

HALF = OimSettings(keep_rows=0.5, keep_columns=0.5)


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_positions_equal_stock(
    kind: str, vision: VisionHalf, language: LanguageHalf, stock: Any, family: Kit
) -> None:
    messages, patches = conversation(kind, vision)
    prompt = language.tokenize(messages)
    inputs = family.stock_inputs(stock, prompt.ids, patches)
    positions, deltas = stock.model.get_rope_index(
        inputs["input_ids"], inputs["mm_token_type_ids"], inputs.get("image_grid_thw")
    )
    assert torch.equal(prompt.positions, positions[:, 0].T.float())
    assert prompt.next_position == prompt.length + deltas.item()


def test_frames_of_one_image_attend_within_themselves(vision: VisionHalf) -> None:
    one, other = patches_of(vision, (112, 112), (112, 112))
    both = Patches(torch.cat((one.pixels, other.pixels)), Grid(2, one.grid.rows, one.grid.columns))
    film = vision.encode([both], HALF)[0]
    stills = vision.encode([one, other], HALF)
    joined = torch.cat([s.embeddings for s in stills])
    torch.testing.assert_close(film.embeddings, joined, atol=1e-5, rtol=1e-5)
    assert film.pieces == (Piece(Grid(2, 2, 2), Grid(2, 4, 4)),)
    assert film.positions[:, 0].tolist() == [0.0] * 4 + [1.0] * 4


def test_rotary_follows_fractional_positions(vision: VisionHalf) -> None:
    grid = torch.tensor([[0.0, 0.0], [0.5, 2.25]]).view(1, 1, 2, 2)
    cos, sin = vision._vision_rotary(grid)
    frequencies = 1 / 10000 ** (torch.arange(0, 16, 2) / 16)
    angles = torch.cat((0.5 * frequencies, 2.25 * frequencies)).repeat(2)
    torch.testing.assert_close(cos[0, 1], angles.cos())
    torch.testing.assert_close(sin[0, 1], angles.sin())


def test_llm_positions_of_merged_tokens(vision: VisionHalf, language: LanguageHalf) -> None:
    patches = patches_of(vision, (112, 112))
    small = vision.encode(patches, HALF)[0]
    source = vision.encode(patches, dataclasses.replace(HALF, llm_position="source"))[0]
    start = language.tokenize(ask(small, "?")).visual.nonzero()[0].item()

    prompt = language.tokenize(ask(small, "?"))
    expected = [[start, start + r, start + c] for r in range(2) for c in range(2)]
    assert prompt.positions[prompt.visual].tolist() == expected
    assert prompt.positions[start + 4].tolist() == [start + 2] * 3

    prompt = language.tokenize(ask(source, "?"))
    torch.testing.assert_close(prompt.positions[prompt.visual], source.positions + start)
    assert prompt.positions[start + 4].tolist() == [start + 4] * 3
    assert prompt.next_position == prompt.positions.max() + 1
    logits, _ = prefill(language, prompt, None, lambda: None)
    assert logits.isfinite().all()
