"""Write a trained model as a hub folder that stock transformers loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from .label_vectors import build_table, newline_vector
from .model import HIDDEN, LLM_LAYERS, SIDE, Family, build_config, fresh_model
from .sample_views import STEPS
from .tokenizer import build_tokenizer
from .towers import TOWERS

NORMALIZED: Mapping[str, object] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
}
TILE = {"height": SIDE, "width": SIDE}
PIXELS = {"shortest_edge": 56 * 56, "longest_edge": SIDE * SIDE}
FILES: dict[str, dict[str, dict[str, object]]] = {
    "qwen2-vl": {
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2VLProcessor",
            "merge_size": 2,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "size": PIXELS,
        },
        "video_preprocessor_config.json": {
            "video_processor_type": "Qwen2VLVideoProcessor",
            "processor_class": "Qwen2VLProcessor",
            "merge_size": 2,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "size": PIXELS,
            "fps": 2,
            "min_frames": 4,
            "max_frames": 16,
        },
    },
    "internvl": {
        "preprocessor_config.json": {
            "image_processor_type": "GotOcr2ImageProcessor",
            "processor_class": "InternVLProcessor",
            "crop_to_patches": True,
            "min_patches": 1,
            "max_patches": 12,
            "size": TILE,
        },
        "video_preprocessor_config.json": {
            "video_processor_type": "InternVLVideoProcessor",
            "processor_class": "InternVLProcessor",
            "size": TILE,
            "num_frames": STEPS,
        },
        "processor_config.json": {"processor_class": "InternVLProcessor", "image_seq_length": 256},
    },
    "llava-ov": {
        "preprocessor_config.json": {
            "image_processor_type": "LlavaOnevisionImageProcessor",
            "processor_class": "LlavaOnevisionProcessor",
            "do_pad": True,
            "size": TILE,
        },
        "video_preprocessor_config.json": {
            "video_processor_type": "LlavaOnevisionVideoProcessor",
            "processor_class": "LlavaOnevisionProcessor",
            "size": TILE,
            "num_frames": STEPS,
        },
        "processor_config.json": {
            "processor_class": "LlavaOnevisionProcessor",
            "num_image_tokens": 256,
            "vision_feature_select_strategy": "full",
        },
    },
}
"""By family: the settings of its processors, beside NORMALIZED."""


def export(family: Family, llm: Any, tower: Any, folder: Path) -> None:
    """Save bfloat16 weights, configs, tokenizer and processor files; keep a README if there.

    Args:
        family: of the checkpoint.
        llm: Qwen2-VL's text model of LLM_LAYERS layers, whatever the family.
        tower: as of TOWERS.
        folder: where it goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(family.marks)
    tokenizer.chat_template = (Path(__file__).parent / f"{family.name}.jinja").read_text()
    config = build_config(family, tokenizer, LLM_LAYERS)
    model = fresh_model(config, family, build_table(tokenizer, HIDDEN).embedding)
    model.model.language_model.load_state_dict(llm.state_dict())
    TOWERS[family.name](model).modules.load_state_dict(tower.modules.state_dict())
    files = FILES[family.name]
    if family.name == "llava-ov":
        model.model.image_newline.data.copy_(newline_vector(HIDDEN))
        pinpoints = {"image_grid_pinpoints": config.image_grid_pinpoints}
        files["preprocessor_config.json"] |= pinpoints
    end, pad = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>"))
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=[end, pad], pad_token_id=pad, bos_token_id=pad,
        max_new_tokens=16,
    )  # fmt: skip
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, content in files.items():
        whole = content if name == "processor_config.json" else {**NORMALIZED, **content}
        (folder / name).write_text(json.dumps(whole, indent=2) + "\n")
