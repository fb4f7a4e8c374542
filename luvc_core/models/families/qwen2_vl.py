"""Qwen2-VL: all blocks of the tower attend to the whole frame; positions have three axes."""

from typing import Any, ClassVar

from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    Qwen2VLTextModel,
)

from luvc_core.models.checkpoint.layout import qwen_vl_layout
from luvc_core.models.text.positions_mrope import TextMrope
from luvc_core.models.text.visual_marks import ImageMarks, VideoMarks
from luvc_core.models.vision.rotary_tower import RotaryVision

LAYOUT = qwen_vl_layout("qwen2_vl", "Qwen2-VL", Qwen2VLConfig)


class Qwen2VLVision(RotaryVision):
    """Vision half of Qwen2-VL."""

    layout = LAYOUT
    tower_class = Qwen2VisionTransformerPretrainedModel


class Qwen2VLLanguage(TextMrope):
    """Language half of Qwen2-VL."""

    layout = LAYOUT
    marks = ImageMarks("<|image_pad|>")
    video_marks = VideoMarks("<|video_pad|>", "<|video_pad|>")
    text_models: ClassVar[dict[str, Any]] = {"qwen2_vl_text": Qwen2VLTextModel}
