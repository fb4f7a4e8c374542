"""A question with its encodings, which all methods share."""

from collections.abc import Callable
from functools import cached_property

from benchmarks.common.checkpoint import Checkpoint
from benchmarks.tasks.question_files import Asked
from luvc_core.calibrate.answer_questions import Answer
from luvc_core.compression.settings import OimSettings
from luvc_core.models.base import LanguageHalf, Patches
from luvc_core.visual_tokens.vision_tokens import VisionTokens


class Question:
    """One held-out question of a checkpoint; it encodes each thing once and keeps it.

    Attributes:
        index: its place among the questions of its kind.
    """

    def __init__(self, checkpoint: Checkpoint, asked: Asked, kind: str, index: int) -> None:
        self.checkpoint = checkpoint
        self.asked = asked
        self.kind = kind
        self.index = index
        self._encoded: dict[object, list[VisionTokens]] = {}

    def encode(self, oim: OimSettings) -> list[VisionTokens]:
        """Encode its files, merged in the tower."""
        if oim.is_off:
            return self.plain
        patches = self.prepared
        return self.once(oim, lambda: self.checkpoint.encoder.encode(patches, oim))

    def once(self, key: object, make: Callable[[], list[VisionTokens]]) -> list[VisionTokens]:
        """Return what `make` made the first time."""
        if key not in self._encoded:
            self._encoded[key] = make()
        return self._encoded[key]

    @cached_property
    def prepared(self) -> list[Patches]:
        """Its files as patches."""
        return self.checkpoint.prepare(self.asked.files)

    @cached_property
    def plain(self) -> list[VisionTokens]:
        """Its visual tokens, not merged."""
        return self.checkpoint.encoder.encode(self.prepared, OimSettings())

    @cached_property
    def token_count(self) -> int:
        """Visual tokens that there are without any compression."""
        return sum(tokens.token_count for tokens in self.plain)

    @cached_property
    def plain_answer(self) -> Answer:
        """The answer without compression."""
        return self.checkpoint.ask(self.plain, self.asked.question, None)

    @property
    def language(self) -> LanguageHalf:
        return self.checkpoint.engine.language

    @property
    def layer_count(self) -> int:
        return self.language.layer_count
