"""Ask questions many at a time, and judge each answer by the one given without faults."""

import asyncio
import itertools
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luvc import AsyncClient, LuvcError
from luvc._base_client import DEADLINE_GRACE_SECONDS

from benchmarks.chaos.outcomes import Outcome, ending_of

# A caller that was refused at once would otherwise ask a thousand times a second.
_PAUSE_AFTER_ERROR = 0.05
# Beyond the client's own guard, which ends every call that the service does not.
_SPARE_SECONDS = 20.0


@dataclass(frozen=True)
class Question:
    """Text about the bytes of images.

    Attributes:
        truth: the answer without faults, once it is known.
    """

    text: str
    files: tuple[bytes, ...]
    max_tokens: int
    truth: str = ""


@dataclass(frozen=True)
class Asker:
    """Asks one encoder.

    Attributes:
        patience: seconds for an answer, attempts of the client included.
        retries: how often the client tries again.
    """

    client: AsyncClient
    patience: float
    retries: int = 0

    async def ask(self, question: Question) -> Outcome:
        """Ask one question and return how it ended, whatever becomes of it."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(self.patience + _SPARE_SECONDS):
                text = await self._text(question)
        except LuvcError as error:
            took = time.monotonic() - start
            late = took > self.patience + 0.95 * DEADLINE_GRACE_SECONDS
            if error.code == "DEADLINE_EXCEEDED" and late:
                return Outcome("hung", error.code, took)
            return Outcome(ending_of(error.code), error.code, took)
        except TimeoutError:
            return Outcome("hung", "none", time.monotonic() - start)
        right = text == question.truth
        return Outcome("answered" if right else "wrong", "OK", time.monotonic() - start)

    async def learn(self, questions: Sequence[Question]) -> list[Question]:
        """Ask one question at a time; return the questions with their answers as truths.

        Raises:
            LuvcError: what a question failed with.
        """
        return [replace(q, truth=await self._text(q)) for q in questions]

    async def all_of(self, questions: Sequence[Question], concurrent: int) -> list[Outcome]:
        """Ask every question once, so many at a time."""
        turn = asyncio.Semaphore(concurrent)

        async def one(question: Question) -> Outcome:
            async with turn:
                return await self.ask(question)

        return list(await asyncio.gather(*map(one, questions)))

    async def during(
        self, trouble: Coroutine[Any, Any, None], questions: Sequence[Question], concurrent: int
    ) -> list[Outcome]:
        """Ask the questions over and over until the trouble is over and all calls have ended.

        Args:
            trouble: what is done to the services meanwhile; what it raises is raised here.
            questions: asked in turn.
            concurrent: how many callers ask at once.

        Returns:
            How each call ended.
        """
        over = asyncio.create_task(trouble)
        outcomes: list[Outcome] = []
        turns = itertools.cycle(questions)

        async def caller() -> None:
            while not over.done():
                outcome = await self.ask(next(turns))
                outcomes.append(outcome)
                if outcome.ending != "answered":
                    await asyncio.sleep(_PAUSE_AFTER_ERROR)

        try:
            await asyncio.gather(*(caller() for _ in range(concurrent)))
            await over
        finally:
            over.cancel()
        return outcomes

    async def _text(self, question: Question) -> str:
        answer = await self.client.ask(
            question.text, *question.files, max_tokens=question.max_tokens,
            timeout=self.patience, retries=self.retries,
        )  # fmt: skip
        return answer.text
