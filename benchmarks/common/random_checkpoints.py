"""Write small random checkpoints in the hub's layout: nothing is downloaded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.models import BPE
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from benchmarks.common.chat_templates import SPECIALS, VOCABULARY, token_id
from benchmarks.common.family_kits import KITS, Kit


def write_checkpoint(
    folder: Path,
    family: str | Kit = "qwen2_vl",
    *,
    naming: str = "hub",
    shards: int = 1,
    tied: bool = False,
    layers: int = 5,
    text: str = "qwen2",
) -> Path:
    """Write a random model with its tokenizer, chat template and processor settings.

    Args:
        folder: where it goes.
        family: by name, or as a kit.
        naming: of the weights: `hub`, as older checkpoints are stored, or `v5`, of transformers 5.
        shards: files that the weights are dealt out to.
        tied: whether the head shares the embedding's weights.
        layers: of the LLM.
        text: the kind of LLM, where the family has a choice.

    Returns:
        The folder.
    """
    kit = KITS[family] if isinstance(family, str) else family
    folder.mkdir(parents=True, exist_ok=True)
    model = random_model(kit, tied, layers, text)
    config = model.config.to_dict()
    _write_json(folder / "config.json", kit.hub_config(config) if naming == "hub" else config)
    _write_json(folder / "preprocessor_config.json", kit.preprocessing)
    if kit.video_preprocessing:
        _write_json(folder / "video_preprocessor_config.json", kit.video_preprocessing)
    ids = {"eos_token_id": [token_id("<|im_end|>"), token_id("<|endoftext|>")]}
    _write_json(folder / "generation_config.json", ids)
    write_tokenizer(folder, kit.begin)
    (folder / "chat_template.jinja").write_text(kit.template)
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    if tied:
        del state["lm_head.weight"]
    if naming == "hub":
        state = {_renamed(name, kit.hub_names): value for name, value in state.items()}
    write_weights(folder, state, shards)
    return folder


def random_model(kit: Kit, tied: bool = False, layers: int = 5, text: str = "qwen2") -> Any:
    """Build a family's stock model at random weights, always the same.

    They are wide enough that logits differ by far more than rounding.

    Args:
        kit: the family.
        tied: whether the head shares the embedding's weights.
        layers: of the LLM.
        text: the kind of LLM, where the family has a choice.

    Returns:
        The model.
    """
    settings = {
        "model_type": text,
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        "bos_token_id": None,
        "eos_token_id": token_id("<|im_end|>"),
        "tie_word_embeddings": tied,
    }
    config = kit.config(settings, tied)
    model = kit.stock._from_config(config, attn_implementation="sdpa")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            norm = any(part in name for part in ("norm", "ln_q", "lambda"))
            scale = 0.1 if norm or parameter.ndim == 1 else parameter[0].numel() ** -0.5
            # Sharp attention that weighs more than the token itself: answers depend on the prompt.
            sharp = "language_model" in name and "self_attn" in name and parameter.ndim == 2
            scale *= 2.5 if sharp else 1
            parameter.copy_(noise * scale + (norm and not name.endswith("bias")))
    return model.eval()


def write_tokenizer(folder: Path, begin: str = "") -> None:
    """Write a byte-level tokenizer: one token a byte, and the special ones.

    Args:
        folder: where it goes.
        begin: a special token that begins every text, or none.
    """
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
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, token_id(begin))]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "bos_token": begin or None,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 512,
    }
    _write_json(folder / "tokenizer_config.json", settings)


def write_weights(folder: Path, state: Mapping[str, torch.Tensor], shards: int = 1) -> None:
    """Write weights as one file, or as shards with an index.

    Args:
        folder: where they go; earlier weights there are removed.
        state: tensors by name.
        shards: files, to which tensors are dealt out in turn.
    """
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
    weight_map = {name: file for file, members in files.items() for name in members}
    _write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})


def _renamed(name: str, names: Mapping[str, str]) -> str:
    prefix = next(prefix for prefix in names if name.startswith(prefix))
    return names[prefix] + name.removeprefix(prefix)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))
