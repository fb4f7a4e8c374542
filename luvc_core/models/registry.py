"""The families that can be served, and the way from a name to a loaded half."""

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
    """Raises CheckpointError naming the families there are."""
    model_type = str(checkpoint.read_json("config.json").get("model_type"))
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"{checkpoint.folder}: model_type {model_type!r} is not supported; "
            f"supported: {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def layer_count(name: str) -> int:
    """Layers of the language model of a checkpoint, from its settings alone."""
    checkpoint = resolve(name)
    settings = family_of(checkpoint).layout.settings(checkpoint)
    return int(settings.text_config.num_hidden_layers)


def load_vision(name: str, device: str = "auto", dtype: str = "auto") -> VisionHalf:
    """Vision tower and projector of a checkpoint, by embedded name, folder or hub id."""
    checkpoint = resolve(name)
    place = choose_device(device)
    return family_of(checkpoint).vision.load(checkpoint, place, choose_dtype(dtype, place))


def load_language(name: str, device: str = "auto", dtype: str = "auto") -> LanguageHalf:
    """Language model of a checkpoint, by embedded name, folder or hub id."""
    checkpoint = resolve(name)
    place = choose_device(device)
    return family_of(checkpoint).language.load(checkpoint, place, choose_dtype(dtype, place))
