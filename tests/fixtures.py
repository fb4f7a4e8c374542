"""Small random checkpoints in the hub's layout, made on the fly: no test downloads anything."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from luvc_core.chat import Message
from luvc_core.tokens import VisionTokens

SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
VOCABULARY = 272  # 256 bytes, the specials, and a few rows to spare as in real checkpoints

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
<|im_start|>system
You are helpful.<|im_end|>
{% endif -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""

PREPROCESSING = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "rescale_factor": 1 / 255,
    "resample": 3,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 48},
}


def write_checkpoint(
    folder: Path, *, naming: str = "hub", shards: int = 1, tied: bool = False, layers: int = 5
) -> Path:
    """A random Qwen2-VL. naming: `hub` (visual.*, model.*) or `v5` (model.visual.*, ...)."""
    folder.mkdir(parents=True, exist_ok=True)
    model = random_model(tied, layers)
    config = _flat(model.config) if naming == "hub" else model.config.to_dict()
    _write_json(folder / "config.json", config)
    _write_json(folder / "preprocessor_config.json", PREPROCESSING)
    ids = {"eos_token_id": [token_id("<|im_end|>"), token_id("<|endoftext|>")]}
    _write_json(folder / "generation_config.json", ids)
    write_tokenizer(folder)
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    if tied:
        del state["lm_head.weight"]
    if naming == "hub":
        state = {_hub_name(name): value for name, value in state.items()}
    write_weights(folder, state, shards)
    return folder


def random_model(tied: bool = False, layers: int = 5) -> Qwen2VLForConditionalGeneration:
    """Always the same weights, wide enough that logits differ by far more than rounding."""
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
        "bos_token_id": None,
        "eos_token_id": token_id("<|im_end|>"),
    }
    vision = {"depth": 4, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=tied,
    )
    model = Qwen2VLForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            norm = "norm" in name or "ln_q" in name
            scale = 0.1 if norm or parameter.ndim == 1 else parameter[0].numel() ** -0.5
            # Sharp attention that weighs more than the token itself: answers depend on the prompt.
            scale *= 2.5 if "self_attn" in name and parameter.ndim == 2 else 1
            parameter.copy_(noise * scale + (norm and name.endswith("weight")))
    return model.eval()


def token_id(text: str) -> int:
    return 256 + SPECIALS.index(text)


def write_tokenizer(folder: Path) -> None:
    """Byte-level: one token a byte, and the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIALS])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 512,
    }
    _write_json(folder / "tokenizer_config.json", settings)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def write_weights(folder: Path, state: Mapping[str, torch.Tensor], shards: int = 1) -> None:
    """One file, or shards with an index, tensors dealt out in turn."""
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    if shards == 1:
        save_file(dict(state), folder / "model.safetensors")
        return
    names = sorted(state)
    files = {
        f"model-{i + 1:05}-of-{shards:05}.safetensors": names[i::shards] for i in range(shards)
    }
    for file, members in files.items():
        save_file({name: state[name] for name in members}, folder / file)
    places = {name: file for file, members in files.items() for name in members}
    _write_json(folder / "model.safetensors.index.json", {"weight_map": places})


def noise_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coloured blobs: neighbouring patches differ, but not as much as white noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def ask(*parts: str | VisionTokens) -> tuple[Message[VisionTokens], ...]:
    """A conversation of one question."""
    return (Message("user", parts),)


def two_pictures(pictures: list[VisionTokens]) -> tuple[Message[VisionTokens], ...]:
    return ask("First ", pictures[0], " then ", pictures[1], " which one?")


def _hub_name(name: str) -> str:
    name = name.replace("model.visual.", "visual.")
    return name.replace("model.language_model.", "model.")


def _flat(config: Qwen2VLConfig) -> dict[str, object]:
    """As hub checkpoints write it: the text settings at the top level."""
    whole = config.to_dict()
    text = whole.pop("text_config")
    text.pop("model_type")
    rope = text.pop("rope_parameters")
    text["rope_theta"] = rope["rope_theta"]
    text["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    whole["vision_config"]["model_type"] = "qwen2_vl"
    return {**text, **whole}


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))
