"""The size of `luvc-tiny-qwen2vl`, and a fresh stock model of that size."""

from __future__ import annotations

import torch
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLForConditionalGeneration

HIDDEN = 192
LLM_LAYERS = 12


def build_config(tokenizer: Qwen2Tokenizer) -> Qwen2VLConfig:
    """About six million parameters; heads of 64 in both halves."""
    ids = {text: tokenizer.convert_tokens_to_ids(f"<|{text}|>") for text in (
        "vision_start", "vision_end", "image_pad", "video_pad", "im_end", "endoftext")}  # fmt: skip
    return Qwen2VLConfig(
        text_config={
            "vocab_size": (len(tokenizer) + 31) // 32 * 32,
            "hidden_size": HIDDEN,
            "intermediate_size": 448,
            "num_hidden_layers": LLM_LAYERS,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 30.0,
                "mrope_section": [8, 12, 12],
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
