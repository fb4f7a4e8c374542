"""The sizes of the embedded checkpoints, and fresh stock models of those sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

HIDDEN = 192
LLM_LAYERS, SHALLOW = 12, 6
"""Layers of the checkpoint, and of the language model it is grown from."""

SIDE = 448
"""Pixels: the images of every family, and the tiles of those that have tiles."""


@dataclass(frozen=True)
class Family:
    """One embedded checkpoint.

    Attributes:
        marks: the special tokens before, after and in the place of visual tokens, and of a video's.
        frame: pixels on a side of a video's frames and of a pair's images.
    """

    name: str
    checkpoint: str
    stock: type[PreTrainedModel]
    config: Callable[[dict[str, Any], dict[str, int]], PreTrainedConfig]
    marks: tuple[str, str, str, str]
    frame: int
    has_rows: bool
    """Whether positions tell rows and columns (M-RoPE); else the visual tokens themselves do."""


def build_config(
    family: Family, tokenizer: Qwen2Tokenizer, layers: int = LLM_LAYERS
) -> PreTrainedConfig:
    """Return a config of about six million parameters; heads of 64 in both halves.

    Args:
        family: of the model.
        tokenizer: gives the vocabulary and the special tokens.
        layers: of the language model.
    """
    end, pad = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>"))
    text = {
        "vocab_size": (len(tokenizer) + 31) // 32 * 32,
        "hidden_size": HIDDEN,
        "intermediate_size": 448,
        "num_hidden_layers": layers,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
        "bos_token_id": pad,
        "eos_token_id": end,
        "pad_token_id": pad,
        "tie_word_embeddings": True,
    }
    names = ("before", "after", "image", "video")
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(list(family.marks)), strict=True))
    return family.config(text, ids)


def _qwen2_vl(text: dict[str, Any], ids: dict[str, int]) -> Qwen2VLConfig:
    rope = {**text["rope_parameters"], "mrope_section": [4, 10, 18]}
    return Qwen2VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config={
            "depth": 6,
            "embed_dim": 128,
            "hidden_size": HIDDEN,
            "mlp_ratio": 4,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=ids["image"],
        video_token_id=ids["video"],
        vision_start_token_id=ids["before"],
        vision_end_token_id=ids["after"],
        tie_word_embeddings=True,
    )


def _internvl(text: dict[str, Any], ids: dict[str, int]) -> InternVLConfig:
    return InternVLConfig(
        text_config={**text, "model_type": "qwen2"},
        vision_config={
            "hidden_size": 128,
            "num_hidden_layers": 6,
            "num_attention_heads": 2,
            "intermediate_size": 512,
            "attention_bias": True,
            "image_size": [SIDE, SIDE],
            "patch_size": [14, 14],
            "layer_scale_init_value": 1.0,
        },
        image_token_id=ids["image"],
        image_seq_length=256,
        tie_word_embeddings=True,
    )


def _llava_onevision(text: dict[str, Any], ids: dict[str, int]) -> LlavaOnevisionConfig:
    return LlavaOnevisionConfig(
        text_config={**text, "model_type": "qwen2"},
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 192,
            "num_hidden_layers": 5,
            "num_attention_heads": 3,
            "intermediate_size": 768,
            "image_size": SIDE,
            # One patch is what 2 x 2 of the other families' come to: nothing merges them here.
            "patch_size": 28,
            "vision_use_head": False,
        },
        image_token_index=ids["image"],
        video_token_index=ids["video"],
        image_grid_pinpoints=[
            [SIDE * rows, SIDE * columns] for rows in (1, 2) for columns in (1, 2)
        ],
        vision_aspect_ratio="anyres_max_4",
        tie_word_embeddings=True,
    )


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "qwen2-vl", "luvc-tiny-qwen2vl", Qwen2VLForConditionalGeneration, _qwen2_vl,
            ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"), 224, True,
        ),
        Family(
            "internvl", "luvc-tiny-internvl", InternVLForConditionalGeneration, _internvl,
            ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"), SIDE, False,
        ),
        Family(
            "llava-ov", "luvc-tiny-llava-ov", LlavaOnevisionForConditionalGeneration,
            _llava_onevision, ("<im_start>", "<im_end>", "<image>", "<video>"), SIDE, False,
        ),
    )
}  # fmt: skip


def fresh_model(config: PreTrainedConfig, family: Family, embedding: torch.Tensor) -> Any:
    """Build a float32 model with the given word embeddings and random layers.

    Args:
        config: of the model.
        family: of the model.
        embedding: [vocabulary, hidden].
    """
    torch.manual_seed(0)
    model = family.stock(config).float()
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table.zero_()
        table[: len(embedding)] = embedding
    return model


@torch.no_grad()
def grow(decoder: Any, shallow: dict[str, torch.Tensor]) -> None:
    """Give a fresh deep decoder a shallow one's weights without changing what it computes.

    Shallow layer i becomes layer i * stride; the layers between start as the identity.
    """
    count = 1 + max(int(name.split(".")[1]) for name in shallow if name.startswith("layers."))
    stride = len(decoder.layers) // count
    for number, layer in enumerate(decoder.layers):
        if number % stride:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        else:
            prefix = f"layers.{number // stride}."
            part = {k.removeprefix(prefix): v for k, v in shallow.items() if k.startswith(prefix)}
            layer.load_state_dict(part)
    rest = {k: v for k, v in shallow.items() if not k.startswith("layers.")}
    decoder.load_state_dict(rest, strict=False)
