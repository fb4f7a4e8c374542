"""The product's own settings as a method: profiles, and the variants of ablations."""

from collections.abc import Callable

from benchmarks.common.checkpoint import Pruning
from benchmarks.fidelity.methods.base import Method
from benchmarks.fidelity.question import Question
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import Compression
from luvc_core.visual_tokens.vision_tokens import VisionTokens


class Settings(Method):
    """A compression as it is, whatever the target."""

    matched = False

    def __init__(self, compression: Compression, name: str | None = None) -> None:
        self.name = name or compression.name
        self._compression = compression

    def visual(self, question: Question, target: float) -> list[VisionTokens]:
        return question.encode(self._compression.oim)

    def pruner(self, question: Question, target: float) -> Pruning:
        return self._compression.spu_for(tokens.detail for tokens in question.plain)


class Matched(Method):
    """Settings that depend on the target and on the question, as on how many layers there are."""

    def __init__(self, name: str, compression: Callable[[Question, float], Compression]) -> None:
        self.name = name
        self._compression = compression

    def visual(self, question: Question, target: float) -> list[VisionTokens]:
        return question.encode(self._compression(question, target).oim)

    def pruner(self, question: Question, target: float) -> Pruning:
        return self._compression(question, target).spu


def profile(name: str) -> Settings:
    """Return what users get under a name, as a method."""
    return Settings(PROFILES[name], f"profile:{name}")
