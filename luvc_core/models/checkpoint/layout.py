"""The layout of a family's checkpoints, and the media it takes; both halves use it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from luvc_core.errors import CheckpointError
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.checkpoint.weights import Renames, Weights
from luvc_core.visual_tokens.identity import Identity

Media = Literal["picture", "several pictures", "video"]
IMAGES: tuple[Media, ...] = ("picture", "several pictures")


def llava_renames(projector: str = "visual.projector.") -> Renames:
    """Return the renames of families whose modules are named as LLaVA's are.

    The names of transformers 5 come first, then those on the hub. `projector` is the canonical
    prefix of the module `multi_modal_projector`.
    """
    return (
        ("model.vision_tower.vision_model.", "visual.tower."),
        ("model.vision_tower.", "visual.tower."),
        ("model.multi_modal_projector.", projector),
        ("model.language_model.", "language."),
        ("vision_tower.vision_model.", "visual.tower."),
        ("vision_tower.", "visual.tower."),
        ("multi_modal_projector.", projector),
        ("language_model.lm_head.", "lm_head."),
        ("language_model.model.", "language."),
        ("lm_head.", "lm_head."),
    )


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint with its settings and tensor names checked.

    Attributes:
        folder: where it is.
        config: its config.json, as `config_class` of the layout.
        weights: its tensors, read when asked for.
        identity: without the digests that only the vision half can compute.
    """

    folder: Path
    config: Any
    weights: Weights
    identity: Identity

    def vision_identity(self, preprocessing_sha256: str) -> Identity:
        """Complete the identity with the digests that only the vision half can compute."""
        return replace(
            self.identity,
            vision_sha256=self.weights.sha256("visual."),
            preprocessing_sha256=preprocessing_sha256,
        )

    def require(
        self, setting: str, allowed: object, fits: Callable[[Any], bool] | None = None
    ) -> None:
        """Raise CheckpointError unless a setting of config.json has the value that is supported.

        Args:
            setting: its dotted name.
            allowed: the one value; with `fits`, a description of the values.
            fits: decides instead of equality.
        """
        value = reduce(getattr, setting.split("."), self.config)
        if not (fits(value) if fits else value == allowed):
            problem = f"{setting} {value!r} is not supported; supported: {allowed}"
            raise CheckpointError(f"{self.folder}: {problem}")


@dataclass(frozen=True)
class Layout:
    """The layout of one family's checkpoints, and the media that the family takes.

    Attributes:
        family: `model_type` of config.json.
        title: the name that people know.
        config_class: of transformers.
        renames: as in Weights; canonical names start with `visual.`, `language.` or `lm_head.`.
        projector: canonical prefix of everything between tower and LLM.
        multiple: the projector needs both sides of a merged grid to be multiples of it.
        takes: media that a request may hold.
    """

    family: str
    title: str
    config_class: Any
    renames: Renames
    projector: str
    multiple: int = 1
    takes: tuple[Media, ...] = IMAGES

    def read_config(self, checkpoint: Checkpoint) -> Any:
        """Read config.json. Raises CheckpointError where it is not this family's."""
        content = checkpoint.read_json("config.json")
        try:
            return self.config_class.from_dict(content)
        except (ValueError, TypeError, KeyError) as error:
            problem = f"config.json does not fit: {error}"
            raise CheckpointError(f"{checkpoint.folder}: {problem}") from error

    def open(self, checkpoint: Checkpoint) -> OpenedCheckpoint:
        """Read the settings and the tensor names of a checkpoint, and check both.

        Raises:
            CheckpointError: where they are not this family's.
        """
        config = self.read_config(checkpoint)
        weights = Weights(checkpoint, self.renames)
        identity = Identity(
            family=self.family,
            revision=checkpoint.revision,
            vision_sha256="",
            projector_sha256=weights.sha256(self.projector),
            preprocessing_sha256="",
            hidden_size=config.text_config.hidden_size,
        )
        return OpenedCheckpoint(checkpoint.folder, config, weights, identity)


def qwen_vl_layout(family: str, title: str, config_class: Any) -> Layout:
    """Return the layout of the Qwen-VL families, which name their tensors alike.

    Args:
        family: `model_type` of config.json.
        title: the name that people know.
        config_class: of transformers.
    """
    return Layout(
        family=family,
        title=title,
        config_class=config_class,
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
