"""Qwen2-VL: what its two halves know alike.

Modules and weights are those of transformers. The loops over them are our own, in the two halves:
stock code runs one picture after another, and has one cache length for all layers.
"""

from transformers import Qwen2VLConfig

from luvc_core.errors import CheckpointError
from luvc_core.models.loading import Weights
from luvc_core.models.resolve import Checkpoint
from luvc_core.tokens import Identity

FAMILY = "qwen2_vl"
# Names of transformers 5, then those of the hub.
RENAMES = (
    ("model.visual.", "visual."),
    ("model.language_model.", "language."),
    ("visual.", "visual."),
    ("model.", "language."),
    ("lm_head.", "lm_head."),
)


def read_config(checkpoint: Checkpoint) -> Qwen2VLConfig:
    try:
        config = Qwen2VLConfig.from_dict(checkpoint.read_json("config.json"))
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{checkpoint.folder}: config.json does not fit: {error}") from error
    if "sliding_attention" in config.text_config.layer_types:
        raise CheckpointError(f"{checkpoint.folder}: sliding-window attention is not supported")
    return config


def identity_of(checkpoint: Checkpoint, config: Qwen2VLConfig, weights: Weights) -> Identity:
    """What both halves know alike."""
    return Identity(
        family=FAMILY,
        revision=checkpoint.revision,
        vision_sha256="",
        projector_sha256=weights.sha256("visual.merger."),
        preprocessing_sha256="",
        hidden_size=config.text_config.hidden_size,
    )
