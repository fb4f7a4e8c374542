"""Asks all questions: once without compression, then with every compression that is tried."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tqdm import tqdm  # type: ignore[import-untyped]

from luvc_core.calibrate.answer_questions import Answer, ask
from luvc_core.calibrate.question_folder import Question, shown_alone
from luvc_core.calibrate.trial import Outcome, Trial
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import OimSettings, SpuSettings
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.errors import InvalidInput
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import Patches
from luvc_core.visual_tokens.vision_tokens import VisionTokens


@dataclass(frozen=True)
class _Plain:
    """The uncompressed answer, and how many visual tokens it took."""

    text: str
    token_count: int


class Evaluation:
    """Asks both halves of a checkpoint the questions, in an order that is always the same.

    Media are encoded anew in every round, so that only those of one question are in memory.
    """

    def __init__(
        self,
        encoder: MediaEncoder,
        engine: RequestProcessor,
        questions: Sequence[Question],
        max_tokens: int,
    ) -> None:
        """Shuffle the questions.

        Args:
            encoder: the vision half.
            engine: the language half.
            questions: at least one.
            max_tokens: longest answer.
        """
        self._encoder = encoder
        self._engine = engine
        self._max_tokens = max_tokens
        # Shuffled, so that the first questions are a sample of all.
        self._questions = random.Random(0).sample(list(questions), len(questions))
        self._plain: list[_Plain] = []

    def uncompressed(self) -> Trial:
        """Ask without compression. All other answers are compared with these.

        Raises:
            InvalidInput: naming the question that cannot be answered.
        """
        trial = Trial(PROFILES["off"], len(self._questions), target=0.0)
        for question in tqdm(self._questions, "uncompressed", unit="question"):
            with _named(question):
                tokens = self._encoder.encode(self._prepare(question), OimSettings())
                answer = self._answer(question, tokens, None)
            self._plain.append(_Plain(answer.text, answer.result.merged_visual_token_count))
            trial.add(_outcome(question, answer, self._plain[-1]))
        return trial

    def ask(self, trials: Sequence[Trial], name: str) -> None:
        """Ask the trials their next questions until each has ended; `name` labels the progress."""
        first = min(trial.asked for trial in trials)
        pairs = list(zip(self._questions, self._plain, strict=True))[first:]
        with tqdm(total=len(pairs), desc=name, unit="question") as bar:
            for question, plain in pairs:
                going = [trial for trial in trials if not trial.ended]
                if not going:
                    break
                bar.set_postfix_str(f"{len(going)} of {len(trials)} left", refresh=False)
                self._ask_one(question, plain, going)
                bar.update()

    def _ask_one(self, question: Question, plain: _Plain, trials: Sequence[Trial]) -> None:
        patches = self._prepare(question)
        encoded: dict[OimSettings, list[VisionTokens]] = {}
        for trial in trials:
            oim = trial.compression.oim
            if oim not in encoded:
                encoded[oim] = self._encoder.encode(patches, oim)
            spu = trial.compression.spu_for(tokens.detail for tokens in encoded[oim])
            answer = self._answer(question, encoded[oim], spu)
            trial.add(_outcome(question, answer, plain))

    def _prepare(self, question: Question) -> list[Patches]:
        files = question.read()
        alone = shown_alone(files)
        return [
            self._encoder.prepare(data, str(path), alone)
            for data, path in zip(files, question.files, strict=True)
        ]

    def _answer(
        self, question: Question, tokens: Sequence[VisionTokens], spu: SpuSettings | None
    ) -> Answer:
        return ask(self._engine, tokens, question.text, spu, self._max_tokens)


def _outcome(question: Question, answer: Answer, plain: _Plain) -> Outcome:
    result = answer.result
    return Outcome(
        same=answer.text == plain.text,
        right=None if question.answer is None else _words(answer.text) == _words(question.answer),
        averaged=result.layer_averaged_visual_token_count / plain.token_count,
        sent=result.merged_visual_token_count / plain.token_count,
    )


def _words(text: str) -> list[str]:
    """Split into words, for a comparison that ignores case and white space."""
    return text.casefold().split()


@contextmanager
def _named(question: Question) -> Iterator[None]:
    """Name the question in the errors of the block."""
    try:
        yield
    except InvalidInput as error:
        field = f"{question.location}: {error.field}"
        raise InvalidInput(field, error.problem, error.allowed) from None
