"""Settings of the small random models, and what stock code takes for images and videos."""

from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    InternVLConfig,
    LlavaConfig,
    LlavaOnevisionConfig,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
)

from benchmarks.common.chat_templates import token_id
from luvc_core.models.base import Patches


def unchanged(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings unchanged."""
    return config


NORMALIZED = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "rescale_factor": 1 / 255,
    "resample": 3,
}


QWEN2_VL_VIDEOS = NORMALIZED | {
    "fps": 2,
    "min_frames": 4,
    "max_frames": 8,
    "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 12},
}


def videos_of_tiles(side: int) -> dict[str, Any]:
    """Return the video processor's settings of a family whose frames are tiles of `side` pixels."""
    return NORMALIZED | {"num_frames": 4, "size": {"height": side, "width": side}}


def qwen2_vl_config(text: dict[str, Any], tied: bool) -> Qwen2VLConfig:
    """Return the config of a small Qwen2-VL."""
    vision = {"depth": 4, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
    return Qwen2VLConfig(**_qwen_parts("qwen2_vl", text, vision), tie_word_embeddings=tied)


def qwen2_5_vl_config(text: dict[str, Any], tied: bool) -> Qwen2_5_VLConfig:
    """Return the config of a small Qwen2.5-VL."""
    vision = {
        "depth": 4,
        "hidden_size": 64,
        "out_hidden_size": 64,
        "intermediate_size": 96,
        "num_heads": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1, 3],
    }
    return Qwen2_5_VLConfig(**_qwen_parts("qwen2_5_vl", text, vision), tie_word_embeddings=tied)


def _qwen_parts(family: str, text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    rope = {**text["rope_parameters"], "mrope_section": [2, 3, 3]}
    return {
        "text_config": {**text, "model_type": f"{family}_text", "rope_parameters": rope},
        "vision_config": vision,
        "image_token_id": token_id("<|image_pad|>"),
        "video_token_id": token_id("<|video_pad|>"),
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
    }


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """Put the text settings at the top level, as hub checkpoints of Qwen2-VL and Qwen2.5-VL do."""
    whole = dict(config)
    text = whole.pop("text_config")
    text.pop("model_type")
    rope = text.pop("rope_parameters")
    text["rope_theta"] = rope["rope_theta"]
    text["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    whole["vision_config"]["model_type"] = whole["model_type"]
    return {**text, **whole}


def qwen2_vl_inputs(patches: list[Patches]) -> dict[str, Tensor]:
    """Return what the stock model takes for images."""
    return {
        "pixel_values": torch.cat([p.pixels for p in patches]),
        "image_grid_thw": torch.tensor([astuple(p.grid) for p in patches]),
    }


def qwen2_vl_video_inputs(patches: list[Patches]) -> dict[str, Tensor]:
    """Return what the stock model takes for videos."""
    return {
        "pixel_values_videos": torch.cat([p.pixels for p in patches]),
        "video_grid_thw": torch.tensor([astuple(p.grid) for p in patches]),
    }


def qwen2_5_vl_video_inputs(patches: list[Patches]) -> dict[str, Tensor]:
    """Return what the stock model takes for videos, with the seconds between patches in time."""
    seconds = torch.tensor([2 * p.video.interval for p in patches if p.video])
    return {**qwen2_vl_video_inputs(patches), "second_per_grid_ts": seconds}


def internvl_config(text: dict[str, Any], tied: bool) -> InternVLConfig:
    """Return the config of a small InternVL."""
    vision = {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "image_size": [112, 112],
        "attention_bias": True,
        "use_qk_norm": True,
    }
    return InternVLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id("<IMG_CONTEXT>"),
        image_seq_length=16,
        tie_word_embeddings=tied,
    )


def llava_config(text: dict[str, Any], tied: bool) -> LlavaConfig:
    """Return the config of a small LLaVA."""
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "image_size": 84,
        "patch_size": 14,
    }
    return LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=token_id("<image>"),
        tie_word_embeddings=tied,
    )


def tiles(patches: list[Patches]) -> dict[str, Tensor]:
    """Return what the stock model takes for images or frames that are tiles."""
    return {"pixel_values": torch.cat([p.pixels for p in patches])}


PINPOINTS = [
    [70, 70], [70, 140], [140, 70], [140, 140], [70, 210], [210, 70], [140, 210], [210, 140],
]  # fmt: skip


QWEN2_VL_IMAGES = NORMALIZED | {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 48},
}

INTERNVL_IMAGES = NORMALIZED | {
    "image_processor_type": "GotOcr2ImageProcessor",
    "size": {"height": 112, "width": 112},
    "crop_to_patches": False,
    "min_patches": 1,
    "max_patches": 6,
}

LLAVA_IMAGES = NORMALIZED | {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 84},
    "crop_size": {"height": 84, "width": 84},
    "do_center_crop": True,
}

LLAVA_ONEVISION_IMAGES = NORMALIZED | {
    "image_processor_type": "LlavaOnevisionImageProcessor",
    "size": {"height": 70, "width": 70},
    "image_grid_pinpoints": PINPOINTS,
    "do_pad": True,
}


def llava_onevision_config(text: dict[str, Any], tied: bool) -> LlavaOnevisionConfig:
    """Return the config of a small LLaVA-OneVision."""
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "image_size": 70,
        "patch_size": 14,
        "vision_use_head": False,
    }
    return LlavaOnevisionConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=token_id("<image>"),
        video_token_index=token_id("<video>"),
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_2",
        tie_word_embeddings=tied,
    )


def llava_onevision_inputs(patches: list[Any]) -> dict[str, Tensor]:
    """Return what the stock model takes for images.

    Args:
        patches: those of LLaVA-OneVision, which have sizes.
    """
    cut = [p.grid.frames > 1 for p in patches]
    return {
        "pixel_values": pad_sequence([p.pixels for p in patches], batch_first=True),
        "image_sizes": torch.tensor([p.size for p in patches]),
        "batch_num_images": torch.tensor([1] * len(patches) if all(cut) else [len(patches)]),
    }


def llava_onevision_video_inputs(patches: list[Patches]) -> dict[str, Tensor]:
    """Return what the stock model takes for videos."""
    return {"pixel_values_videos": torch.stack([p.pixels for p in patches])}


OLDER_HUB_NAMES = {
    "model.vision_tower.": "vision_tower.",
    "model.multi_modal_projector.": "multi_modal_projector.",
    "model.language_model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
}
