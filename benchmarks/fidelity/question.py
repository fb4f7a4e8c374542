"""A checkpoint to ask, and a question with its encodings, which all methods share."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.accuracy import MODELS
from benchmarks.tasks.files import Asked
from luvc_core import checkpoints
from luvc_core.calibrate.asking import Answer, ask
from luvc_core.config import OimSettings, SpuSettings
from luvc_core.encode import Encoder
from luvc_core.engine.engine import Engine
from luvc_core.engine.pruning import Pruner
from luvc_core.models.base import LanguageHalf
from luvc_core.models.registry import load_language, load_vision
from luvc_core.tokens import VisionTokens

Pruning = SpuSettings | Pruner | None


def embedded() -> list[str]:
    """Those of the embedded checkpoints that are there."""
    folder = Path(checkpoints.__file__).parent
    return [model for model in MODELS if (folder / model).is_dir()]


@dataclass
class Checkpoint:
    """Both halves in this process. notes: what methods find out once and use again."""

    name: str
    encoder: Encoder
    engine: Engine
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, model: str) -> "Checkpoint":
        return cls(model, Encoder(load_vision(model)), Engine(load_language(model)))

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


class Question:
    """One held-out question of a checkpoint. Encodes each thing once, and keeps it while it lives.

    index: its place among those of its kind.
    """

    def __init__(self, checkpoint: Checkpoint, asked: Asked, kind: str, index: int) -> None:
        self.checkpoint = checkpoint
        self.asked = asked
        self.kind = kind
        self.index = index
        self._encoded: dict[object, list[VisionTokens]] = {}

    def encode(self, oim: OimSettings) -> list[VisionTokens]:
        """Merged in the tower."""
        if oim.is_off:
            return self.plain
        patches = self.prepared
        return self.once(oim, lambda: self.checkpoint.encoder.encode(patches, oim))

    def once(self, key: object, make: Callable[[], list[VisionTokens]]) -> list[VisionTokens]:
        """What `make` makes the first time."""
        if key not in self._encoded:
            self._encoded[key] = make()
        return self._encoded[key]

    @cached_property
    def prepared(self) -> list[Any]:
        """Decoded and cut, as the family does it."""
        alone = len(self.asked.files) == 1
        return [self.checkpoint.encoder.prepare(f, "file", alone) for f in self.asked.files]

    @cached_property
    def plain(self) -> list[VisionTokens]:
        """Not merged."""
        return self.checkpoint.encoder.encode(self.prepared, OimSettings())

    @cached_property
    def token_count(self) -> int:
        """Visual tokens that there are without any compression."""
        return sum(tokens.token_count for tokens in self.plain)

    @cached_property
    def plain_answer(self) -> Answer:
        return self.checkpoint.ask(self.plain, self.asked.question, None)

    @property
    def language(self) -> LanguageHalf:
        return self.checkpoint.engine.language

    @property
    def layer_count(self) -> int:
        return self.language.layer_count
