"""The families that can be served, and loading a half by the name of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass

from luvc_core.errors import CheckpointError
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.models.checkpoint.devices import choose_device, choose_dtype
from luvc_core.models.checkpoint.layout import Layout
from luvc_core.models.checkpoint.resolve import Checkpoint, resolve
from luvc_core.models.families import internvl, llava, llava_onevision, qwen2_5_vl, qwen2_vl
from luvc_core.models.families.llava_onevision_vision import LlavaOnevisionVision


@dataclass(frozen=True)
class Family:
    """The two halves of a family, and the layout of its checkpoints."""

    layout: Layout
    vision: type[VisionHalf]
    language: type[LanguageHalf]


# By `model_type` of config.json.
FAMILIES: Mapping[str, Family] = {
    family.layout.family: family
    for family in (
        Family(qwen2_vl.LAYOUT, qwen2_vl.Qwen2VLVision, qwen2_vl.Qwen2VLLanguage),
        Family(qwen2_5_vl.LAYOUT, qwen2_5_vl.Qwen25VLVision, qwen2_5_vl.Qwen25VLLanguage),
        Family(internvl.LAYOUT, internvl.InternVLVision, internvl.InternVLLanguage),
        Family(llava.LAYOUT, llava.LlavaVision, llava.LlavaLanguage),
        Family(
            llava_onevision.LAYOUT, LlavaOnevisionVision, llava_onevision.LlavaOnevisionLanguage
        ),
    )
}


def family_of(checkpoint: Checkpoint) -> Family:
    """Return the family of a checkpoint. Raises CheckpointError naming the known families."""
    model_type = str(checkpoint.read_json("config.json").get("model_type"))
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"{checkpoint.folder}: model_type {model_type!r} is not supported; "
            f"supported: {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def read_layer_count(name: str) -> int:
    """Read the number of decoder layers of a checkpoint from its config.json."""
    checkpoint = resolve(name)
    config = family_of(checkpoint).layout.read_config(checkpoint)
    return int(config.text_config.num_hidden_layers)


def load_vision(name: str, device: str = "auto", dtype: str = "auto") -> VisionHalf:
    """Load the vision tower and projector of a checkpoint.

    Args:
        name: embedded name, folder or hub id.
        device: as in choose_device.
        dtype: as in choose_dtype.

    Raises:
        CheckpointError: where there is no such checkpoint, or it cannot be served.
        InvalidSettings: for a device or number format that this machine does not have.
    """
    checkpoint = resolve(name)
    torch_device = choose_device(device)
    torch_dtype = choose_dtype(dtype, torch_device)
    return family_of(checkpoint).vision.load(checkpoint, torch_device, torch_dtype)


def load_language(name: str, device: str = "auto", dtype: str = "auto") -> LanguageHalf:
    """Load the language model of a checkpoint.

    Args:
        name: embedded name, folder or hub id.
        device: as in choose_device.
        dtype: as in choose_dtype.

    Raises:
        CheckpointError: where there is no such checkpoint, or it cannot be served.
        InvalidSettings: for a device or number format that this machine does not have.
    """
    checkpoint = resolve(name)
    torch_device = choose_device(device)
    torch_dtype = choose_dtype(dtype, torch_device)
    return family_of(checkpoint).language.load(checkpoint, torch_device, torch_dtype)
