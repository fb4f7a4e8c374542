"""A checkpoint in this process, both halves of it, to ask one question at a time."""

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
    """notes: what somebody found out about it once and uses again."""

    name: str
    encoder: MediaEncoder
    engine: RequestProcessor
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, model: str, dtype: str = "float32") -> "Checkpoint":
        """dtype: by default the same on every machine, so that answers are."""
        vision, language = load_vision(model, dtype=dtype), load_language(model, dtype=dtype)
        return cls(model, MediaEncoder(vision), RequestProcessor(language))

    def prepare(self, files: Sequence[bytes]) -> list[Patches]:
        """The files of one question, decoded and cut as the family does it."""
        alone = len(files) == 1
        return [self.encoder.prepare(file, "file", alone) for file in files]

    def encode(self, files: Sequence[bytes], oim: OimSettings) -> list[VisionTokens]:
        """The visual tokens of what one question is about."""
        return self.encoder.encode(self.prepare(files), oim)

    def ask(
        self,
        tokens: Sequence[VisionTokens],
        question: str,
        pruning: Pruning,
        hooks: AbstractContextManager[object] | None = None,
    ) -> Answer:
        """The greedy answer. hooks: what holds while it is made."""
        with hooks or nullcontext():
            return ask(self.engine, tokens, question, pruning)
