"""Qwen2-VL: what its two halves know alike.

Modules and weights are those of transformers. The loops over them are our own, in the two halves:
stock code runs one picture after another, and has one cache length for all layers.
"""

from transformers import Qwen2VLConfig

from luvc_core.models.layout import Layout

LAYOUT = Layout(
    family="qwen2_vl",
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
)
