"""Write a trained model as a hub folder that stock transformers loads."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen2Tokenizer, Qwen2VLForConditionalGeneration

IMAGE_PROCESSOR = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "merge_size": 2,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 56 * 56, "longest_edge": 448 * 448},
    "processor_class": "Qwen2VLProcessor",
}


def export(model: Qwen2VLForConditionalGeneration, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """Save bfloat16 weights, configs, tokenizer and processor files; keeps a README if there."""
    folder.mkdir(parents=True, exist_ok=True)
    end, pad = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>"))
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=[end, pad], pad_token_id=pad, bos_token_id=pad,
        max_new_tokens=16,
    )  # fmt: skip
    model.to(torch.bfloat16).save_pretrained(folder)
    model.float()
    tokenizer.save_pretrained(folder)
    video = {**IMAGE_PROCESSOR, "video_processor_type": "Qwen2VLVideoProcessor"}
    del video["image_processor_type"]
    for name, content in (
        ("preprocessor_config.json", IMAGE_PROCESSOR),
        ("video_preprocessor_config.json", video),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
