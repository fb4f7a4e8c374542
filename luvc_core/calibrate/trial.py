"""A trial of one compression, question by question."""

import math
from dataclasses import dataclass

from luvc_core.calibrate.confidence_intervals import wilson
from luvc_core.compression.settings import Compression, Keep

# The trials of a plot are asked at least this many questions.
MIN_QUESTIONS = 20


@dataclass(frozen=True)
class Outcome:
    """The outcome of one compressed answer.

    Attributes:
        same: whether it equals the uncompressed answer.
        right: whether it is right; None where the right answer is not known.
        averaged: share of the visual tokens that the average layer held.
        sent: share of the visual tokens left after merging.
    """

    same: bool
    right: bool | None
    averaged: float
    sent: float


class Trial:
    """A compression and its outcomes so far.

    Attributes:
        compression: what is tried.
        questions: number of questions in all.
        min_questions: how many are asked even if the target cannot be reached any more.
        lasted: how many were asked while the target could still be reached.
    """

    def __init__(
        self, compression: Compression, questions: int, target: float, min_questions: int = 0
    ) -> None:
        """Start a trial.

        Args:
            compression: what is tried.
            questions: number of questions in all.
            target: share of them whose answers must stay the same.
            min_questions: how many are asked even if the target cannot be reached any more.
        """
        self.compression = compression
        self.questions = questions
        self.min_questions = min_questions
        self._misses_allowed = math.floor((1 - target) * questions + 1e-9)
        self._outcomes: list[Outcome] = []
        self.lasted = 0

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of the next question."""
        self._outcomes.append(outcome)
        if not self.hopeless:
            self.lasted = self.asked

    @property
    def asked(self) -> int:
        """Number of questions so far."""
        return len(self._outcomes)

    @property
    def hopeless(self) -> bool:
        """Whether it misses the target whatever the remaining answers are."""
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
        """Number of answers so far that equal the uncompressed ones."""
        return sum(outcome.same for outcome in self._outcomes)

    @property
    def loyalty(self) -> float:
        """Share of the answers so far that equal the uncompressed ones."""
        return self.same / max(1, self.asked)

    @property
    def loyalty_interval(self) -> tuple[float, float]:
        """Confidence interval of the loyalty."""
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
        """Confidence interval of the accuracy."""
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
    """Return the name of a compression, or its settings in short where it has none."""
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
