"""The size of `luvc-tiny-qwen2vl`, and a fresh stock model of that size."""

from __future__ import annotations

import torch
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLTextModel

HIDDEN = 192
LLM_LAYERS, SHALLOW = 12, 6
"""Layers of the checkpoint, and of the language model it is grown from."""


def build_config(tokenizer: Qwen2Tokenizer, layers: int = LLM_LAYERS) -> Qwen2VLConfig:
    """About six million parameters; heads of 64 in both halves."""
    ids = {text: tokenizer.convert_tokens_to_ids(f"<|{text}|>") for text in (
        "vision_start", "vision_end", "image_pad", "video_pad", "im_end", "endoftext")}  # fmt: skip
    return Qwen2VLConfig(
        text_config={
            "vocab_size": (len(tokenizer) + 31) // 32 * 32,
            "hidden_size": HIDDEN,
            "intermediate_size": 448,
            "num_hidden_layers": layers,
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1000.0,
                "mrope_section": [4, 10, 18],
            },
            "bos_token_id": ids["endoftext"],
            "eos_token_id": ids["im_end"],
            "pad_token_id": ids["endoftext"],
            "tie_word_embeddings": True,
        },
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
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=True,
    )


def fresh_model(
    config: Qwen2VLConfig, embedding: torch.Tensor, seed: int = 0
) -> Qwen2VLForConditionalGeneration:
    """A float32 model with the given word embeddings ([vocabulary, hidden]) and random layers."""
    torch.manual_seed(seed)
    model = Qwen2VLForConditionalGeneration(config).float()
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table.zero_()
        table[: len(embedding)] = embedding
    return model


@torch.no_grad()
def grow(decoder: Qwen2VLTextModel, shallow: dict[str, torch.Tensor]) -> None:
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
