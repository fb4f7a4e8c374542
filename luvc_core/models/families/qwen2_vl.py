"""Qwen2-VL: every block of its tower attends to the whole frame; positions have three axes."""

from typing import Any, ClassVar

from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    Qwen2VLTextModel,
)

from luvc_core.models.checkpoint.layout import IMAGES, Layout
from luvc_core.models.text.chat_tokenizer import ImageMarks, VideoMarks
from luvc_core.models.text.positions_mrope import TextMrope
from luvc_core.models.vision.rotary_tower import RotaryVision

LAYOUT = Layout(
    family="qwen2_vl",
    title="Qwen2-VL",
    config_class=Qwen2VLConfig,
    # Names of transformers 5, then those of the hub.
    renames=(
        ("model.visual.", "visual."),
        ("model.language_model.", "language."),
        ("visual.", "visual."),
        ("model.", "language."),
        ("lm_head.", "lm_head."),
    ),
    projector="visual.merger.",
    multiple=2,
    takes=(*IMAGES, "video"),
)


class Qwen2VLVision(RotaryVision):
    layout = LAYOUT
    tower_class = Qwen2VisionTransformerPretrainedModel


class Qwen2VLLanguage(TextMrope):
    layout = LAYOUT
    marks = ImageMarks("<|image_pad|>")
    video_marks = VideoMarks("<|video_pad|>", "<|video_pad|>")
    text_models: ClassVar[dict[str, Any]] = {"qwen2_vl_text": Qwen2VLTextModel}
