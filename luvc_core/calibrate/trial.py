"""How one compression fares, question by question."""

import math
from dataclasses import dataclass

from luvc_core.calibrate.confidence_intervals import wilson
from luvc_core.compression.settings import Compression, Keep

# Points of the curve are known from at least this many questions.
MIN_QUESTIONS = 20


@dataclass(frozen=True)
class Outcome:
    """One compressed answer. same: as the uncompressed one. right: None where nobody knows.
    averaged, sent: shares of the visual tokens in the average layer, and after merging."""

    same: bool
    right: bool | None
    averaged: float
    sent: float


class Trial:
    """A compression and what is known about it so far.

    questions: how many there are. target: the loyalty that it must have over all of them. min_questions:
    how many are asked even if it cannot reach that any more.
    """

    def __init__(
        self, compression: Compression, questions: int, target: float, min_questions: int = 0
    ) -> None:
        self.compression = compression
        self.questions = questions
        self.min_questions = min_questions
        self._misses_allowed = math.floor((1 - target) * questions + 1e-9)
        self._outcomes: list[Outcome] = []
        self.lasted = 0

    def add(self, outcome: Outcome) -> None:
        """What the next question brought."""
        self._outcomes.append(outcome)
        if not self.hopeless:
            self.lasted = self.asked

    @property
    def asked(self) -> int:
        return len(self._outcomes)

    @property
    def hopeless(self) -> bool:
        """Whether it misses the target, whatever is still to come."""
        return self.asked - self.same > self._misses_allowed

    @property
    def ended(self) -> bool:
        """Whether no more questions are to be asked."""
        return self.asked == self.questions or (self.hopeless and self.asked >= self.min_questions)

    @property
    def passed(self) -> bool:
        """Whether it met the target on all questions."""
        return self.asked == self.questions and not self.hopeless

    @property
    def same(self) -> int:
        return sum(outcome.same for outcome in self._outcomes)

    @property
    def loyalty(self) -> float:
        """Share of the answers so far that equal the uncompressed ones."""
        return self.same / max(1, self.asked)

    @property
    def loyalty_interval(self) -> tuple[float, float]:
        return wilson(self.same, self.asked)

    @property
    def _known(self) -> list[bool]:
        return [outcome.right for outcome in self._outcomes if outcome.right is not None]

    @property
    def accuracy(self) -> float | None:
        """Share of right answers where the right one is known; None where it never is."""
        return sum(self._known) / len(self._known) if self._known else None

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        return wilson(sum(self._known), len(self._known))

    @property
    def averaged(self) -> float:
        """Share of the visual tokens that the average layer holds, mean over questions."""
        return sum(outcome.averaged for outcome in self._outcomes) / max(1, self.asked)

    @property
    def sent(self) -> float:
        """Share of the visual tokens that merging leaves, mean over questions."""
        return sum(outcome.sent for outcome in self._outcomes) / max(1, self.asked)


def label(compression: Compression) -> str:
    """Its name where it has one; else its numbers in short."""
    oim, spu = compression.oim, compression.spu
    if compression.name != "custom" or spu is None:
        return compression.name
    schedule = spu.schedule
    if isinstance(schedule, Keep):
        ramp = "layer by layer"
    else:
        ramp = f"{schedule.start:g}-{schedule.end:g} first {schedule.first_keep:.2f}"
    merged = "" if oim.is_off else f" oim {oim.keep_rows:g}x{oim.keep_columns:g}"
    return f"{spu.score} {ramp}{merged}"
