"""The families that can be served, and the way from a name to a loaded half."""

from collections.abc import Mapping
from dataclasses import dataclass

from luvc_core.errors import CheckpointError
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.models.devices import choose_device, choose_dtype
from luvc_core.models.internvl import InternVLLanguage, InternVLVision
from luvc_core.models.llava import LlavaLanguage, LlavaVision
from luvc_core.models.llava_onevision import LlavaOnevisionLanguage
from luvc_core.models.llava_onevision_vision import LlavaOnevisionVision
from luvc_core.models.qwen2_5_vl import Qwen25VLLanguage, Qwen25VLVision
from luvc_core.models.qwen2_vl import Qwen2VLLanguage, Qwen2VLVision
from luvc_core.models.resolve import Checkpoint, resolve


@dataclass(frozen=True)
class Family:
    vision: type[VisionHalf]
    language: type[LanguageHalf]


# By `model_type` of config.json.
FAMILIES: Mapping[str, Family] = {
    "qwen2_vl": Family(Qwen2VLVision, Qwen2VLLanguage),
    "qwen2_5_vl": Family(Qwen25VLVision, Qwen25VLLanguage),
    "internvl": Family(InternVLVision, InternVLLanguage),
    "llava": Family(LlavaVision, LlavaLanguage),
    "llava_onevision": Family(LlavaOnevisionVision, LlavaOnevisionLanguage),
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
