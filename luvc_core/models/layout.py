"""How the checkpoints of a family are laid out, which both of its halves know alike."""

from dataclasses import dataclass
from typing import Any

from luvc_core.errors import CheckpointError
from luvc_core.models.loading import Renames, Weights
from luvc_core.models.resolve import Checkpoint
from luvc_core.tokens import Identity


@dataclass(frozen=True)
class Opened:
    """A checkpoint whose settings fit. identity: without what only the vision half knows."""

    config: Any
    weights: Weights
    identity: Identity


@dataclass(frozen=True)
class Layout:
    """config_class: of transformers. renames: as in Weights; canonical names start with `visual.`,
    `language.` or `lm_head.`. projector: canonical prefix of all that stands between tower and LLM.
    """

    family: str
    config_class: Any
    renames: Renames
    projector: str

    def open(self, checkpoint: Checkpoint) -> Opened:
        """Raises CheckpointError where settings or tensor names are not this family's."""
        content = checkpoint.read_json("config.json")
        try:
            config = self.config_class.from_dict(content)
        except (ValueError, TypeError, KeyError) as error:
            problem = f"config.json does not fit: {error}"
            raise CheckpointError(f"{checkpoint.folder}: {problem}") from error
        weights = Weights(checkpoint, self.renames)
        identity = Identity(
            family=self.family,
            revision=checkpoint.revision,
            vision_sha256="",
            projector_sha256=weights.sha256(self.projector),
            preprocessing_sha256="",
            hidden_size=config.text_config.hidden_size,
        )
        return Opened(config, weights, identity)
