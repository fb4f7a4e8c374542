"""Both halves of a checkpoint in this process, to ask one question at a time."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from luvc_core.calibrate.answer_questions import Answer, ask
from luvc_core.compression.settings import OimSettings, SpuSettings
from luvc_core.engine.pruner import Pruner
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import Patches
from luvc_core.models.registry import load_language, load_vision
from luvc_core.visual_tokens.vision_tokens import VisionTokens

EMBEDDED = ("luvc-tiny-qwen2vl", "luvc-tiny-internvl", "luvc-tiny-llava-ov")
Pruning = SpuSettings | Pruner | None


@dataclass
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        notes: what a method has found out about it once and uses again.
    """

    name: str
    encoder: MediaEncoder
    engine: RequestProcessor
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, model: str, dtype: str = "float32") -> "Checkpoint":
        """Load both halves; float32 by default, so that answers are the same on every machine."""
        vision, language = load_vision(model, dtype=dtype), load_language(model, dtype=dtype)
        return cls(model, MediaEncoder(vision), RequestProcessor(language))

    def prepare(self, files: Sequence[bytes]) -> list[Patches]:
        """Decode the files of one question and cut them into patches as the family does."""
        alone = len(files) == 1
        return [self.encoder.prepare(file, "file", alone) for file in files]

    def encode(self, files: Sequence[bytes], oim: OimSettings) -> list[VisionTokens]:
        """Encode the files of one question into visual tokens."""
        return self.encoder.encode(self.prepare(files), oim)

    def ask(
        self,
        tokens: Sequence[VisionTokens],
        question: str,
        pruning: Pruning,
        hooks: AbstractContextManager[object] | None = None,
    ) -> Answer:
        """Return the greedy answer.

        Args:
            tokens: of each image or video that the question is about.
            question: the text.
            pruning: which tokens leave, or None.
            hooks: held while the answer is made.

        Returns:
            The answer and what it cost.
        """
        with hooks or nullcontext():
            return ask(self.engine, tokens, question, pruning)
