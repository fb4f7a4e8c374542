"""LLaVA-OneVision: what its two halves know alike, and its language half."""

from transformers import LlavaOnevisionConfig

from luvc_core.models.layout import PICTURES, Layout
from luvc_core.models.prompting import PictureMarks
from luvc_core.models.text_1d import Text1D

LAYOUT = Layout(
    family="llava_onevision",
    title="LLaVA-OneVision",
    config_class=LlavaOnevisionConfig,
    # Names of transformers 5, then those of the hub.
    renames=(
        ("model.vision_tower.vision_model.", "visual.tower."),
        ("model.vision_tower.", "visual.tower."),
        ("model.multi_modal_projector.", "visual.projector.mlp."),
        ("model.image_newline", "visual.projector.newline.weight"),
        ("model.language_model.", "language."),
        ("vision_tower.vision_model.", "visual.tower."),
        ("vision_tower.", "visual.tower."),
        ("multi_modal_projector.", "visual.projector.mlp."),
        ("image_newline", "visual.projector.newline.weight"),
        ("language_model.lm_head.", "lm_head."),
        ("language_model.model.", "language."),
        ("lm_head.", "lm_head."),
    ),
    projector="visual.projector.",
    takes=(*PICTURES, "video"),
)


class LlavaOnevisionLanguage(Text1D):
    layout = LAYOUT
    marks = PictureMarks("<image>")
