"""Checkpoints, names and devices that cannot be served: refused, naming what does not fit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luvc_core.errors import CheckpointError, InvalidSettings
from luvc_core.models.checkpoint import devices, resolve
from luvc_core.models.registry import load_language, load_vision
from tests.support.checkpoints import write_checkpoint

pytestmark = pytest.mark.transformers


def test_text_models_of_another_kind_are_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", "internvl")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["model_type"] = "gemma"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="'gemma' is not supported; supported: qwen2, llama"):
        load_language(str(folder), "cpu", "float32")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("internvl", {"vision_feature_layer": -2}, "vision_feature_layer -2 .*supported: -1"),
        ("llava_onevision", {"vision_feature_layer": [-2, -1]}, "supported: one layer"),
        ("llava_onevision", {"vision_feature_select_strategy": "default"}, "supported: full"),
        ("llava_onevision", {"vision_aspect_ratio": "pad"}, "'pad' is not supported"),
        ("llava", {"vision_feature_layer": [-2, -1]}, "supported: one layer"),
        ("llava", {"vision_feature_select_strategy": "full"}, "'full' is not .*: default"),
        ("llava", {"vision_config": {"model_type": "siglip_vision_model"}}, ": clip_vision_model"),
        ("internvl", {"downsample_ratio": 0.25}, "downsample_ratio 0.25 is .*supported: 0.5"),
        ("qwen2_vl", {"vision_config": {"spatial_merge_size": 4}}, "merge_size 4 .*supported: 2"),
        ("qwen2_5_vl", {"vision_config": {"spatial_merge_size": 1}}, "merge_size 1 .*: 2"),
    ],
)
def test_towers_used_in_another_way_are_refused(
    name: str, change: dict[str, object], message: str, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "model", name)
    config = json.loads((folder / "config.json").read_text())
    for name, value in change.items():
        part = config if not isinstance(value, dict) else config[name]
        part |= value if isinstance(value, dict) else {name: value}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load_vision(str(folder), "cpu", "float32")


def spoil(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    """Replace, add or remove one tensor."""
    state = {k: v for k, v in load_file(folder / "model.safetensors").items() if k != name}
    save_file({**state, **({} if tensor is None else {name: tensor})}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("load", "name", "tensor", "message"),
    [
        (load_vision, "visual.blocks.1.norm1.bias", None, "missing.*visual.blocks.1.norm1.bias"),
        (load_vision, "visual.blocks.9.norm1.bias", torch.ones(64), "unexpected.*blocks.9.norm1"),
        (
            load_vision,
            "visual.blocks.1.norm1.bias",
            torch.ones(3),
            r"shape \[3\] instead of \[64\]",
        ),
        (load_language, "model.norm.weight", None, "missing.*language.norm.weight"),
        (load_language, "model.layers.9.x", torch.ones(1), "unexpected.*language.layers.9.x"),
        (load_language, "lm_head.weight", None, "missing.*lm_head.weight"),
        (load_language, "audio.weight", torch.ones(1), "audio.weight is none that this family"),
        (load_language, "model.visual.blocks.1.norm1.bias", torch.ones(1), "occurs twice"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    load: object, name: str, tensor: torch.Tensor | None, message: str, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "model")
    spoil(folder, name, tensor)
    with pytest.raises(CheckpointError, match=message):
        load(str(folder), "cpu", "float32")


@pytest.mark.parametrize(
    ("file", "load"),
    [
        ("config.json", load_vision),
        ("preprocessor_config.json", load_vision),
        ("model.safetensors", load_vision),
        ("config.json", load_language),
        ("tokenizer.json", load_language),
        ("chat_template.jinja", load_language),
        ("model.safetensors", load_language),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_files_that_are_missing_or_damaged(
    file: str, load: object, damage: str, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "model")
    (folder / file).unlink()
    if damage == "garbage":
        (folder / file).write_text("no JSON, no tensors, {% no template %}")
    with pytest.raises(CheckpointError, match="model"):
        load(str(folder), "cpu", "float32")


def test_templates_must_make_room_for_images(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ messages[0].role }}: hello")
    with pytest.raises(CheckpointError, match=r"no <\|image_pad\|> for a picture"):
        load_language(str(folder), "cpu", "float32")


def test_images_of_a_size_that_the_tower_was_not_made_for(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", "llava")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["crop_size"] = {"height": 70, "width": 70}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=r"\(70, 70\) for a tower of 84 pixels"):
        load_vision(str(folder), "cpu", "float32")


def test_missing_shard(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00003"):
        load_vision(str(folder), "cpu", "float32")


def test_unknown_family_lists_those_there_are(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(CheckpointError, match="'gpt2' is not supported; supported: qwen2_vl"):
        load_vision(str(folder))


@pytest.mark.parametrize("name", ["no-such-name", "/no/such/folder", "a/b/c", ".", "../x", ""])
def test_names_that_are_nothing(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resolve, "embedded_checkpoints", lambda: {"luvc-tiny": tmp_path})
    expected = "config.json is missing" if name == "." else "embedded checkpoints: luvc-tiny"
    with pytest.raises(CheckpointError, match=expected):
        load_vision(name)


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise ConnectionError("offline\nand a long tale")

    monkeypatch.setattr(resolve, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match="'some/model' cannot be had from the hub: offline;"):
        resolve.resolve("some/model")


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "mps", ""])
def test_devices_that_are_not_here(device: str) -> None:
    with pytest.raises(InvalidSettings, match="device"):
        devices.choose_device(device)


def test_unknown_dtype() -> None:
    with pytest.raises(InvalidSettings, match=r"dtype.*auto, float32, bfloat16, float16"):
        devices.choose_dtype("int8", torch.device("cpu"))
