"""LLaVA-OneVision: the layout of its checkpoints, and its language half."""

from transformers import LlavaOnevisionConfig

from luvc_core.models.checkpoint.layout import IMAGES, Layout, llava_renames
from luvc_core.models.text.positions_1d import Text1D
from luvc_core.models.text.visual_marks import ImageMarks, VideoMarks

LAYOUT = Layout(
    family="llava_onevision",
    title="LLaVA-OneVision",
    config_class=LlavaOnevisionConfig,
    renames=(
        ("model.image_newline", "visual.projector.newline.weight"),
        ("image_newline", "visual.projector.newline.weight"),
        *llava_renames(projector="visual.projector.mlp."),
    ),
    projector="visual.projector.",
    takes=(*IMAGES, "video"),
)


class LlavaOnevisionLanguage(Text1D):
    """Language half of LLaVA-OneVision."""

    layout = LAYOUT
    marks = ImageMarks("<image>")
    video_marks = VideoMarks("<video>", "<video>")
