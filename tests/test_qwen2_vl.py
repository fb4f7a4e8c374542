"""Qwen2-VL in two halves against the whole model of transformers, and merging in its tower."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from luvc_core.chat import Message, Sampling
from luvc_core.config import OimSettings, Ramp, SpuSettings
from luvc_core.engine.engine import Engine, Request, Session
from luvc_core.engine.prefill import prefill
from luvc_core.errors import InvalidInput
from luvc_core.models.base import LanguageHalf, Patches, Prompt, VisionHalf
from luvc_core.models.registry import load_language, load_vision
from luvc_core.tokens import Grid, VisionTokens
from tests.fixtures import ask, noise_picture, token_id

OFF = OimSettings()
HALF = OimSettings(keep_rows=0.5, keep_columns=0.5)
SIZES = [(112, 112), (60, 200), (300, 80), (112, 112), (33, 500), (200, 61)]


def patches_of(vision: VisionHalf, *sizes: tuple[int, int]) -> list[Patches]:
    return [vision.preprocess(noise_picture(*size, seed=i)) for i, size in enumerate(sizes)]


def grids_of(patches: list[Patches]) -> Tensor:
    return torch.tensor([dataclasses.astuple(p.grid) for p in patches])


@torch.no_grad()
def stock_tokens(stock: Qwen2VLForConditionalGeneration, patches: list[Patches]) -> list[Tensor]:
    pixels = torch.cat([p.pixels for p in patches])
    return list(stock.model.get_image_features(pixels, grids_of(patches)).pooler_output)


def stock_inputs(prompt: Prompt, patches: list[Patches]) -> dict[str, Tensor]:
    ids = prompt.ids[None]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == token_id("<|image_pad|>")).int(),
    }
    if patches:
        inputs["pixel_values"] = torch.cat([p.pixels for p in patches])
        inputs["image_grid_thw"] = grids_of(patches)
    return inputs


def run(session: Session) -> str:
    text = ""
    while event := session.step():
        text += event.text
    return text


CONVERSATIONS = ["one", "two pictures", "text only", "several turns"]


def conversation(
    kind: str, vision: VisionHalf
) -> tuple[tuple[Message[VisionTokens], ...], list[Patches]]:
    patches = patches_of(vision, (112, 112), (60, 200))
    a, b = vision.encode(patches, OFF)
    if kind == "one":
        return ask(b, "What is this?"), patches[1:]
    if kind == "two pictures":
        return ask("First ", a, " and second ", b, " differ how?"), patches
    if kind == "text only":
        return ask("Say something."), []
    system = Message[VisionTokens]("system", ("Answer in verse.",))
    answer = Message[VisionTokens]("assistant", ("A cat.",))
    return (system, *ask(a, "What?"), answer, *ask("Sure?", b)), patches


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tokens_equal_stock(
    size: tuple[int, int], vision: VisionHalf, stock: Qwen2VLForConditionalGeneration
) -> None:
    patches = patches_of(vision, size)
    tokens = vision.encode(patches, OFF)[0]
    torch.testing.assert_close(
        tokens.embeddings, stock_tokens(stock, patches)[0], atol=1e-5, rtol=1e-5
    )
    assert tokens.grid == tokens.source_grid
    assert torch.equal(tokens.sizes, torch.ones(tokens.grid.token_count))
    assert torch.equal(tokens.positions, tokens.llm_positions)


def test_batches_equal_stock_in_order(
    vision: VisionHalf, stock: Qwen2VLForConditionalGeneration
) -> None:
    patches = patches_of(vision, *SIZES)
    for tokens, expected in zip(
        vision.encode(patches, OFF), stock_tokens(stock, patches), strict=True
    ):
        torch.testing.assert_close(tokens.embeddings, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("oim", [OFF, HALF], ids=["off", "half"])
def test_pictures_do_not_depend_on_those_beside_them(vision: VisionHalf, oim: OimSettings) -> None:
    patches = patches_of(vision, (112, 112), (112, 112), (60, 200), (112, 112))
    for together, alone in zip(
        vision.encode(patches, oim), [vision.encode([p], oim)[0] for p in patches], strict=True
    ):
        torch.testing.assert_close(together.embeddings, alone.embeddings, atol=1e-5, rtol=1e-5)
        assert torch.equal(together.positions, alone.positions)


def test_threads_preprocess_alike(vision: VisionHalf) -> None:
    images = [noise_picture(*SIZES[i % len(SIZES)], seed=i) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(vision.preprocess, images))
    for patches, image in zip(together, images, strict=True):
        assert torch.equal(patches.pixels, vision.preprocess(image).pixels)


def test_frames_of_one_picture_attend_within_themselves(vision: VisionHalf) -> None:
    one, other = patches_of(vision, (112, 112), (112, 112))
    both = Patches(torch.cat((one.pixels, other.pixels)), Grid(2, one.grid.rows, one.grid.columns))
    film = vision.encode([both], HALF)[0]
    stills = vision.encode([one, other], HALF)
    joined = torch.cat([s.embeddings for s in stills])
    torch.testing.assert_close(film.embeddings, joined, atol=1e-5, rtol=1e-5)
    assert film.source_grid == Grid(2, 4, 4)
    assert film.positions[:, 0].tolist() == [0.0] * 4 + [1.0] * 4


@pytest.mark.parametrize("kind", CONVERSATIONS)
@torch.no_grad()
def test_prompt_and_logits_equal_stock(
    kind: str, vision: VisionHalf, language: LanguageHalf, stock: Qwen2VLForConditionalGeneration
) -> None:
    messages, patches = conversation(kind, vision)
    prompt = language.tokenize(messages)
    inputs = stock_inputs(prompt, patches)
    positions, deltas = stock.model.get_rope_index(
        inputs["input_ids"], inputs["mm_token_type_ids"], inputs.get("image_grid_thw")
    )
    assert torch.equal(prompt.positions, positions[:, 0].T.float())
    assert prompt.next_position == prompt.length + deltas.item()

    stock.model.rope_deltas = None
    expected = stock(**inputs).logits[0, -1]
    logits, _ = prefill(language, prompt, None, lambda: None)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_greedy_answers_equal_stock(
    kind: str, vision: VisionHalf, language: LanguageHalf, stock: Qwen2VLForConditionalGeneration
) -> None:
    messages, patches = conversation(kind, vision)
    session = Engine(language).start(Request(messages, Sampling(max_tokens=24)))
    text = run(session)
    inputs = stock_inputs(language.tokenize(messages), patches)
    whole = stock.generate(**inputs, max_new_tokens=24, do_sample=False)
    expected = whole[0, inputs["input_ids"].shape[1] :].tolist()
    answer = [token for token in expected if token not in language.stop_ids]
    assert list(session.tokens) == answer
    assert text == language.text_of(answer)
    assert len(set(answer)) > 4, "the answer is too dull to prove anything"


@pytest.mark.parametrize("proportional", [False, True])
@pytest.mark.parametrize("size", SIZES[:3], ids=str)
def test_merging_halves_both_sides(
    size: tuple[int, int], proportional: bool, vision: VisionHalf
) -> None:
    patches = patches_of(vision, size)
    settings = dataclasses.replace(HALF, proportional_attention=proportional)
    plain, merged = vision.encode(patches, OFF)[0], vision.encode(patches, settings)[0]
    assert merged.source_grid == plain.grid
    for side, source in (
        (merged.grid.rows, plain.grid.rows),
        (merged.grid.columns, plain.grid.columns),
    ):
        assert side in (source // 2, (source + 1) // 2)
    assert merged.sizes.sum() == plain.grid.token_count
    assert merged.sizes.min() > 0
    rows, columns = merged.positions[:, 1], merged.positions[:, 2]
    assert rows.min() >= 0
    assert rows.max() <= plain.grid.rows - 1
    assert columns.min() >= 0
    assert columns.max() <= plain.grid.columns - 1
    assert (merged.positions % 1 != 0).any()
    # The centre of mass stays where it was, but for what was moved in from the edge.
    centre = (merged.positions * merged.sizes[:, None]).sum(0) / merged.sizes.sum()
    torch.testing.assert_close(centre, plain.positions.mean(0), atol=0.05, rtol=0)


def test_merging_in_every_way_gives_whole_tokens(vision: VisionHalf) -> None:
    patches = patches_of(vision, (200, 112))
    for change in (
        {"metric": "hidden"},
        {"alignment": "shared"},
        {"window": 1},
        {"position": "kept"},
        {"blocks": (0.0,)},
        {"blocks": (0.5, 0.55, 0.6)},  # all the same block in a tower of four
        {"keep_rows": 1.0},
    ):
        tokens = vision.encode(patches, dataclasses.replace(HALF, **change))[0]
        assert tokens.sizes.sum() == tokens.source_grid.token_count, change
        assert tokens.embeddings.isfinite().all(), change


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


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|image_pad|>", "<|vision_start|>", "<image>"])
def test_special_tokens_in_text_are_refused(mark: str, language: LanguageHalf) -> None:
    turns = (*ask("Hello"), Message("assistant", ("Hi",)), *ask("What", f"about {mark}?"))
    with pytest.raises(InvalidInput, match=r"messages\[2\]\.parts\[1\].*attach media as parts"):
        language.tokenize(turns)


def test_special_tokens_in_halves_are_refused(language: LanguageHalf, vision: VisionHalf) -> None:
    with pytest.raises(InvalidInput, match=r"parts\[1\]: holds the token <\|im_end\|>"):
        language.tokenize(ask("<|im_", "end|>"))
    picture = vision.encode(patches_of(vision, (56, 56)), OFF)[0]
    assert language.tokenize(ask("<|im_", picture, "end|>")).length > 0


def test_text_that_only_looks_special_is_kept(language: LanguageHalf) -> None:
    text = "a < b | c > d, <|nothing|>, <b>bold</b> \N{PILE OF POO}"
    prompt = language.tokenize(ask(text))
    assert text in language.text_of(prompt.ids.tolist())


def test_bfloat16_runs_throughout_and_stays_close(checkpoint: Path, vision: VisionHalf) -> None:
    patches = patches_of(vision, (112, 112))
    settings = dataclasses.replace(HALF, proportional_attention=True)
    small = load_vision(str(checkpoint), "cpu", "bfloat16")
    language = load_language(str(checkpoint), "cpu", "bfloat16")
    assert small.identity == vision.identity
    tokens = small.encode(patches, OFF)[0]
    assert tokens.embeddings.dtype == torch.bfloat16
    close = torch.cosine_similarity(
        tokens.embeddings.float(), vision.encode(patches, OFF)[0].embeddings
    )
    assert close.min() > 0.99
    merged = small.encode(patches, settings)[0]
    spu = SpuSettings(Ramp())
    session = Engine(language).start(Request(ask(merged, "?"), Sampling(max_tokens=3), spu))
    run(session)
    assert len(session.tokens) == 3
