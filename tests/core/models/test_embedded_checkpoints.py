"""The embedded checkpoints: stock classes load them, they are small, their chat formats hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

from benchmarks.tasks import make_sample
from benchmarks.tasks.question_files import png
from benchmarks.tasks.words import all_words
from luvc_core.compression.settings import OimSettings
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.checkpoint.resolve import embedded_checkpoints
from luvc_core.models.registry import load_vision

pytestmark = pytest.mark.transformers

MAX_BYTES = 16 * 2**20


class Facts(NamedTuple):
    """picture and video: what stands for one in the prompt. tokens: of a picture of 448 x 448."""

    model_type: str
    image: str
    video: str
    before_text: str
    tokens: int


FACTS = {
    "luvc-tiny-qwen2vl": Facts(
        "qwen2_vl",
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<|vision_start|><|video_pad|><|vision_end|>",
        "",
        256,
    ),
    "luvc-tiny-internvl": Facts("internvl", "<IMG_CONTEXT>\n", "<video>\n", "", 256),
    # The picture as a whole, its one crop, and the ends of the crop's 16 rows.
    "luvc-tiny-llava-ov": Facts("llava_onevision", "<image>", "<video>", "\n", 256 + 256 + 16),
}


@pytest.fixture(params=sorted(embedded_checkpoints()))
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def folder(name: str) -> Path:
    return embedded_checkpoints()[name]


def test_stock_loading_misses_nothing(folder: Path) -> None:
    _, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]


def test_the_folder_is_small_and_stored_in_bfloat16(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
    assert {param.dtype for param in model.parameters()} == {torch.bfloat16}


def test_a_card_says_what_it_is_for(folder: Path) -> None:
    assert folder.name in (folder / "README.md").read_text()


def test_the_architecture_is_deep_enough_to_compress_in(name: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["text_config"]["num_hidden_layers"] >= 12
    assert AutoConfig.from_pretrained(folder).model_type == FACTS[name].model_type


def test_every_word_is_one_token_and_text_survives(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for word in all_words():
        for form in (word, f" {word}"):
            assert len(tokenizer(form).input_ids) == 1, form
    text = "Invoice K7R2: naïve 束, 3.50 €\n  two  spaces"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_chat_template_takes_turns_images_and_videos(name: str, folder: Path) -> None:
    facts = FACTS[name]
    content = [{"type": "image"}, {"type": "video"}, {"type": "text", "text": "Is there a star?"}]
    messages = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": content},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "How many?"},
    ]
    text = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert text == (
        "<|im_start|>system\nx<|im_end|>\n<|im_start|>user\n"
        f"{facts.image}{facts.video}{facts.before_text}Is there a star?<|im_end|>\n"
        "<|im_start|>assistant\nyes<|im_end|>\n"
        "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_how_many_visual_tokens_a_448_image_has(name: str) -> None:
    image = make_sample("document", 0).image
    assert image is not None
    encoder = MediaEncoder(load_vision(name))
    (tokens,) = encoder.encode([encoder.prepare(png(image), "file")], OimSettings())
    assert tokens.token_count == FACTS[name].tokens
