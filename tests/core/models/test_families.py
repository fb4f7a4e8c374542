"""Every family in two halves against the whole model of transformers."""

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from luvc_core.chat import Message, SamplingParams
from luvc_core.compression.settings import OimSettings, Ramp, SpuSettings
from luvc_core.engine.generation import Generation
from luvc_core.engine.prefill import prefill
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.models.base import LanguageHalf, Patches, VisionHalf
from luvc_core.models.registry import load_language, load_vision
from luvc_core.visual_tokens.vision_tokens import Piece, VisionTokens
from tests.support.checkpoints import ask, noise_image, write_checkpoint
from tests.support.families import ALL_FAMILIES, Kit

pytestmark = [pytest.mark.transformers, ALL_FAMILIES]

OFF = OimSettings()
HALF = OimSettings(keep_rows=0.5, keep_columns=0.5)
SIZES = [(112, 112), (60, 200), (300, 80), (112, 112), (33, 500), (200, 61), (100, 70)]
CONVERSATIONS = ["one", "two pictures", "text only", "several turns"]


def patches_of(vision: VisionHalf, *sizes: tuple[int, int], alone: bool = True) -> list[Patches]:
    return [vision.preprocess(noise_image(*size, seed=i), alone) for i, size in enumerate(sizes)]


def run(generation: Generation) -> str:
    text = ""
    while event := generation.step():
        text += event.text
    return text


def raster(piece: Piece) -> tuple[Tensor, Tensor]:
    """Positions and sizes of a piece that is not merged: [tokens, 3], [tokens]."""
    grid, ends = piece.grid, piece.separators
    frames, rows, columns = (torch.arange(side).float() for side in dataclasses.astuple(grid))
    if ends == "row":
        columns = torch.arange(grid.columns + 1).float()
    places = torch.cartesian_prod(frames, rows, columns)
    sizes = (places[:, 2] < grid.columns).float()
    if ends == "piece":
        last = torch.tensor([[grid.frames - 1.0, grid.rows - 1.0, grid.columns]])
        places, sizes = torch.cat((places, last)), torch.cat((sizes, torch.zeros(1)))
    return places, sizes


def conversation(
    kind: str, vision: VisionHalf
) -> tuple[tuple[Message[VisionTokens], ...], list[Patches]]:
    patches = patches_of(vision, (112, 112), (60, 200), alone=kind == "one")
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
    size: tuple[int, int], vision: VisionHalf, stock: Any, family: Kit
) -> None:
    patches = patches_of(vision, size)
    tokens = vision.encode(patches, OFF)[0]
    expected = family.stock_tokens(stock, patches)[0]
    torch.testing.assert_close(tokens.embeddings, expected, atol=1e-5, rtol=1e-5)
    assert [p.grid for p in tokens.pieces] == [p.source_grid for p in tokens.pieces]
    assert tokens.token_count == tokens.source_token_count
    places = [raster(p) for p in tokens.pieces]
    torch.testing.assert_close(tokens.positions, torch.cat([place for place, _ in places]))
    torch.testing.assert_close(tokens.sizes, torch.cat([size for _, size in places]))


@pytest.mark.parametrize("alone", [True, False])
def test_batches_equal_stock_in_order(
    alone: bool, vision: VisionHalf, stock: Any, family: Kit
) -> None:
    patches = patches_of(vision, *SIZES, alone=alone)
    expected = family.stock_tokens(stock, patches)
    for tokens, stock_tokens in zip(vision.encode(patches, OFF), expected, strict=True):
        torch.testing.assert_close(tokens.embeddings, stock_tokens, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("oim", [OFF, HALF], ids=["off", "half"])
def test_images_do_not_depend_on_those_beside_them(vision: VisionHalf, oim: OimSettings) -> None:
    patches = patches_of(vision, (112, 112), (112, 112), (60, 200), (112, 112))
    for together, alone in zip(
        vision.encode(patches, oim), [vision.encode([p], oim)[0] for p in patches], strict=True
    ):
        torch.testing.assert_close(together.embeddings, alone.embeddings, atol=1e-5, rtol=1e-5)
        assert torch.equal(together.positions, alone.positions)


def test_threads_preprocess_alike(vision: VisionHalf) -> None:
    images = [noise_image(*SIZES[i % len(SIZES)], seed=i) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(vision.preprocess, images))
    for patches, image in zip(together, images, strict=True):
        assert torch.equal(patches.pixels, vision.preprocess(image).pixels)


@pytest.mark.parametrize("kind", CONVERSATIONS)
@torch.no_grad()
def test_logits_equal_stock(
    kind: str, vision: VisionHalf, language: LanguageHalf, stock: Any, family: Kit
) -> None:
    messages, patches = conversation(kind, vision)
    prompt = language.tokenize(messages)
    if hasattr(stock.model, "rope_deltas"):
        stock.model.rope_deltas = None
    expected = stock(**family.stock_inputs(stock, prompt.ids, patches)).logits[0, -1]
    logits, _ = prefill(language, prompt, None, lambda: None)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert logits.dtype == torch.float32


@torch.no_grad()
def test_llama_may_be_the_text_model(tmp_path: Path, family: Kit) -> None:
    if family.mrope:
        pytest.skip("has a text model of its own")
    folder = write_checkpoint(tmp_path / "llama", family.name, text="llama")
    vision = load_vision(str(folder), "cpu", "float32")
    language = load_language(str(folder), "cpu", "float32")
    messages, patches = conversation("two pictures", vision)
    prompt = language.tokenize(messages)
    stock = family.stock.from_pretrained(folder, dtype=torch.float32)
    expected = stock(**family.stock_inputs(stock, prompt.ids, patches)).logits[0, -1]
    logits, _ = prefill(language, prompt, None, lambda: None)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_greedy_answers_equal_stock(
    kind: str, vision: VisionHalf, language: LanguageHalf, stock: Any, family: Kit
) -> None:
    messages, patches = conversation(kind, vision)
    generation = RequestProcessor(language).start(Request(messages, SamplingParams(max_tokens=24)))
    text = run(generation)
    inputs = family.stock_inputs(stock, language.tokenize(messages).ids, patches)
    whole = stock.generate(**inputs, max_new_tokens=24, do_sample=False)
    expected = whole[0, inputs["input_ids"].shape[1] :].tolist()
    answer = [token for token in expected if token not in language.stop_ids]
    assert list(generation.tokens) == answer
    assert text == language.text_of(answer)
    assert len(set(answer)) > 4, "the answer is too dull to prove anything"


def stock_ids(
    family: Kit, checkpoint: Path, messages: tuple[Message[VisionTokens], ...], sizes: list[Any]
) -> list[int]:
    """Ids by the stock processor, whose video half would need torchvision."""

    class Processor(family.processor):  # type: ignore[misc]
        def check_argument_for_proper_class(self, *_: object) -> None:
            pass

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    for name, mark in family.token_names.items():
        setattr(tokenizer, name, mark)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(mark))
    images = family.image_processor.from_pretrained(checkpoint)
    processor = Processor(images, tokenizer, **family.processor_settings)
    turns = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                for part in message.parts
            ],
        }
        for message in messages
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    images = [[noise_image(*size) for size in sizes]] if sizes else None
    ids: list[int] = processor(text=[text], images=images)["input_ids"][0]
    return ids


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_ids_equal_those_of_the_stock_processor(
    kind: str, vision: VisionHalf, language: LanguageHalf, checkpoint: Path, family: Kit
) -> None:
    messages, patches = conversation(kind, vision)
    sizes = [(112, 112), (60, 200)][-len(patches) :] if patches else []
    expected = stock_ids(family, checkpoint, messages, sizes)
    assert language.tokenize(messages).ids.tolist() == expected


def test_what_transformers_saves_is_the_same_model(
    tmp_path: Path, checkpoint: Path, stock: Any, vision: VisionHalf, language: LanguageHalf
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / checkpoint.name)
    (folder / "model.safetensors").unlink()
    stock.save_pretrained(folder)
    assert load_vision(str(folder), "cpu", "float32").identity == vision.identity
    assert load_language(str(folder), "cpu", "float32").identity == language.identity


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
    generation = RequestProcessor(language).start(
        Request(ask(merged, "?"), SamplingParams(max_tokens=3), spu)
    )
    run(generation)
    assert len(generation.tokens) == 3
