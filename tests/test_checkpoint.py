"""The embedded checkpoint: stock classes load it, it is small, and its chat format holds."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import Qwen2Tokenizer, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

from benchmarks.tasks import make_sample
from benchmarks.tasks.words import all_words

FOLDER = Path(__file__).parents[1] / "luvc_core" / "checkpoints" / "luvc-tiny-qwen2vl"
MAX_BYTES = 16 * 2**20


def test_stock_loading_misses_nothing() -> None:
    _, info = Qwen2VLForConditionalGeneration.from_pretrained(FOLDER, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]


def test_the_folder_is_small_and_stored_in_bfloat16() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MAX_BYTES
    model = Qwen2VLForConditionalGeneration.from_pretrained(FOLDER, dtype="auto")
    assert {param.dtype for param in model.parameters()} == {torch.bfloat16}


def test_the_architecture_is_deep_enough_to_compress_in() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["text_config"]["num_hidden_layers"] >= 12
    assert config["model_type"] == "qwen2_vl"


def test_every_word_is_one_token_and_text_survives() -> None:
    tokenizer = Qwen2Tokenizer.from_pretrained(FOLDER)
    for word in all_words():
        for form in (word, f" {word}"):
            assert len(tokenizer(form).input_ids) == 1, form
    text = "Invoice K7R2: naïve 束, 3.50 €\n  two  spaces"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_chat_template_takes_turns_pictures_and_videos() -> None:
    tokenizer = Qwen2Tokenizer.from_pretrained(FOLDER)
    content = [{"type": "image"}, {"type": "video"}, {"type": "text", "text": "Is there a star?"}]
    messages = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": content},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "How many?"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    vision = "<|vision_start|><|{}_pad|><|vision_end|>"
    assert text == (
        "<|im_start|>system\nx<|im_end|>\n<|im_start|>user\n"
        f"{vision.format('image')}{vision.format('video')}Is there a star?<|im_end|>\n"
        "<|im_start|>assistant\nyes<|im_end|>\n"
        "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_448_picture_is_256_visual_tokens() -> None:
    processor = Qwen2VLImageProcessorPil.from_pretrained(FOLDER)
    image = make_sample("document", 0).image
    grid = processor([image], return_tensors="pt")["image_grid_thw"][0]
    assert grid.prod().item() // processor.merge_size**2 == 256
