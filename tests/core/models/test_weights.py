"""Halves of a checkpoint: what is read, what is kept, and what tells it from others."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luvc_core.chat import Message
from luvc_core.models.checkpoint import devices, resolve
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.checkpoint.weights import Weights
from luvc_core.models.registry import load_language, load_vision
from tests.support.checkpoints import write_checkpoint
from tests.support.families import ALL_FAMILIES, Kit

pytestmark = pytest.mark.transformers

LAYOUTS = [
    {"naming": "hub"},
    {"naming": "v5"},
    {"naming": "hub", "shards": 3},
    {"naming": "v5", "shards": 5},
]


def reads_of(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Collect the canonical names that are read from now on."""
    names: set[str] = set()
    read = Weights.read

    def spy(self: Weights, name: str) -> torch.Tensor:
        names.add(name)
        return read(self, name)

    monkeypatch.setattr(Weights, "read", spy)
    return names


def elements_held(half: object) -> int:
    """Parameters of all modules and tensors of a half, shared ones once."""
    held = {}
    for value in vars(half).values():
        tensors = value.parameters() if isinstance(value, torch.nn.Module) else [value]
        held |= {t.data_ptr(): t.numel() for t in tensors if isinstance(t, torch.Tensor)}
    return sum(held.values())


@ALL_FAMILIES
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_layout_gives_the_same_model(
    layout: dict[str, object], checkpoint: Path, tmp_path: Path, family: Kit
) -> None:
    folder = str(write_checkpoint(tmp_path / checkpoint.name, family.name, **layout))
    expected = load_vision(str(checkpoint), "cpu", "float32").identity
    assert load_vision(folder, "cpu", "float32").identity == expected
    first = load_language(str(checkpoint), "cpu", "float32")
    second = load_language(folder, "cpu", "float32")
    assert second.identity == first.identity
    hidden = torch.randn(3, 64)
    assert torch.equal(first.logits(hidden), second.logits(hidden))


@ALL_FAMILIES
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_each_half_reads_its_own_and_together_they_read_all(
    layout: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: Kit
) -> None:
    folder = write_checkpoint(tmp_path / "model", family.name, **layout)
    weights = Weights(Checkpoint(folder, "test"), family.layout.renames)
    sizes = {name: weights.read(name).numel() for name in weights.names("")}

    reads = reads_of(monkeypatch)
    vision = load_vision(str(folder), "cpu", "float32")
    vision_reads = set(reads)
    assert all(name.startswith("visual.") for name in vision_reads)
    assert elements_held(vision) == sum(sizes[name] for name in vision_reads)

    reads.clear()
    language = load_language(str(folder), "cpu", "float32")
    own = {name for name in reads if not name.startswith("visual.")}
    assert own
    assert {name for name in reads - own if not name.startswith(family.layout.projector)} == set()
    assert elements_held(language) == sum(sizes[name] for name in own)

    assert vision_reads | own == set(sizes)
    assert len(sizes) == sum(len(load_file(f)) for f in folder.glob("*.safetensors"))


@ALL_FAMILIES
@pytest.mark.parametrize("naming", ["hub", "v5"])
def test_tied_embeddings_are_the_head(naming: str, tmp_path: Path, family: Kit) -> None:
    folder = write_checkpoint(tmp_path / "tied", family.name, naming=naming, tied=True)
    language = load_language(str(folder), "cpu", "float32")
    embedding = language.embed(torch.arange(272))
    assert torch.equal(language._head.weight, embedding)


@ALL_FAMILIES
def test_a_head_that_is_stored_is_used_whatever_the_settings_say(
    tmp_path: Path, family: Kit
) -> None:
    folder = write_checkpoint(tmp_path / "untied", family.name, naming="v5")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    language = load_language(str(folder), "cpu", "float32")
    stored = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert torch.equal(language._head.weight, stored)


def test_weights_do_not_hang_on_the_file(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    language = load_language(str(folder), "cpu", "float32")
    before = language.embed(torch.arange(9)).clone()
    path = folder / "model.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\0" * size)
    assert torch.equal(language.embed(torch.arange(9)), before)


def test_digests_follow_the_weights(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    before = load_vision(str(folder), "cpu", "float32").identity
    change(folder, "visual.merger.mlp.0.bias")
    merger = load_vision(str(folder), "cpu", "float32").identity
    assert merger.projector_sha256 != before.projector_sha256
    assert merger.projector_sha256 == load_language(str(folder)).identity.projector_sha256
    change(folder, "visual.blocks.0.norm1.bias")
    block = load_vision(str(folder), "cpu", "float32").identity
    assert block.projector_sha256 == merger.projector_sha256
    assert block.vision_sha256 != merger.vision_sha256 != before.vision_sha256


def test_digests_follow_the_preprocessing(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    before = load_vision(str(folder), "cpu", "float32").identity
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "image_mean": [0.5, 0.5, 0.5]}))
    after = load_vision(str(folder), "cpu", "float32").identity
    assert after.preprocessing_sha256 != before.preprocessing_sha256
    assert after.vision_sha256 == before.vision_sha256


def change(folder: Path, name: str) -> None:
    state = load_file(folder / "model.safetensors")
    state[name] = state[name] + 1
    save_file(state, folder / "model.safetensors")


def test_older_checkpoints_keep_the_template_with_the_processor(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    language = load_language(str(folder), "cpu", "float32")
    assert language.tokenize((Message("user", ("Hi",)),)).length > 2


def test_hub_revision_is_in_the_name(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.setattr(resolve, "snapshot_download", lambda *_, **__: str(checkpoint))
    assert resolve.resolve("some/model").revision == f"some/model@{checkpoint.name[:12]}"


def test_embedded_names(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.setattr(resolve, "embedded_checkpoints", lambda: {"luvc-tiny": checkpoint})
    assert load_vision("luvc-tiny", "cpu").identity.revision == "luvc-tiny"


def test_auto_dtype_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False})
    assert devices.choose_dtype("auto", cpu) == torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert devices.choose_dtype("auto", cpu) == torch.bfloat16
    assert devices.choose_dtype("float16", cpu) == torch.float16
