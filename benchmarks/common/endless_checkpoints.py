"""Write checkpoints that every system can load, and that never end an answer by themselves.

They are in the hub's layout. As no token ends an answer, all systems make equally many tokens.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

import luvc_core.checkpoints

EMBEDDED = Path(luvc_core.checkpoints.__file__).parent / "luvc-tiny-qwen2vl"

# The text model of Qwen2-0.5B, and a tower that goes with its size.
HALF_BILLION: dict[str, dict[str, Any]] = {
    "text_config": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [8, 12, 12],
        },
        "layer_types": ["full_attention"] * 24,
    },
    "vision_config": {"depth": 12, "embed_dim": 512, "num_heads": 8, "hidden_size": 896},
}


def embedded(folder: Path) -> Path:
    """Write the embedded checkpoint to a folder."""
    _copy(folder)
    shutil.copy(EMBEDDED / "model.safetensors", folder)
    _write_config(folder, json.loads((EMBEDDED / "config.json").read_text()))
    return folder


def half_billion(folder: Path, shape: Mapping[str, Mapping[str, Any]] = HALF_BILLION) -> Path:
    """Write random weights of 0.5 B parameters, with the embedded checkpoint's tokenizer."""
    _copy(folder)
    settings = json.loads((EMBEDDED / "config.json").read_text())
    for part, part_settings in shape.items():
        settings[part] |= part_settings
    torch.manual_seed(0)
    config = Qwen2VLConfig(**settings)
    model = Qwen2VLForConditionalGeneration._from_config(config, dtype=torch.float32)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    renamed = {_hub_name(name): value for name, value in state.items() if name != "lm_head.weight"}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    _write_config(folder, settings | {"dtype": "float32"})
    return folder


def _hub_name(name: str) -> str:
    name = name.replace("model.visual.", "visual.")
    return name.replace("model.language_model.", "model.")


def _copy(folder: Path) -> None:
    """Copy all but weights and settings."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in EMBEDDED.iterdir():
        if file.suffix not in (".safetensors", ".md"):
            shutil.copy(file, folder / file.name)


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    never = config["video_token_id"]
    config["text_config"]["eos_token_id"] = never
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [never]}))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": "<|video_pad|>"}))
