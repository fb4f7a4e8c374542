"""Ask held-out questions under every method, in several processes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import torch
from luvc.local_stack.ending import end_with_parent
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.common.checkpoint import Checkpoint
from benchmarks.fidelity.flops import prefill_flops
from benchmarks.fidelity.matching import Unreachable
from benchmarks.fidelity.methods import Method
from benchmarks.fidelity.question import Question
from benchmarks.fidelity.rows import OFF, Outcome, Row, Store, rows_of
from benchmarks.tasks.question_files import Asked, file_questions
from luvc_core.calibrate.answer_questions import Answer

REDUCTIONS = (0.5, 0.67, 0.75, 0.9)
_CHUNK = 10  # questions
Aim = tuple[Method, float | None]


@dataclass(frozen=True)
class Task:
    """All that is to be asked about one kind of question.

    Attributes:
        n: questions without compression.
        aims: how many of them are asked under each aim.
    """

    checkpoint: str
    kind: str
    split: str
    n: int
    aims: tuple[tuple[Aim, int], ...]

    @property
    def answer_count(self) -> int:
        """All answers that are to be made."""
        return self.n + sum(n for _, n in self.aims)


def aims_of(methods: Sequence[Method], reductions: Sequence[float]) -> list[Aim]:
    """Pair each method with each reduction, or with None where it has a reduction of its own."""
    return [
        (method, reduction)
        for method in methods
        for reduction in (reductions if method.matched else (None,))
    ]


def missing(
    store: Store,
    checkpoint: str,
    kind: str,
    wanted: Mapping[Aim, int],
    split: str = "test",
    plain: int = 0,
) -> Task:
    """Return what the store does not hold yet.

    Where anything is missing `off` is asked again, as the others are compared with it.

    Args:
        store: of rows.
        checkpoint: name or folder.
        kind: of question.
        wanted: questions for each aim.
        split: where the questions come from.
        plain: questions that are wanted without compression in any case.
    """
    name = Path(checkpoint).name
    aims = tuple(
        (aim, n)
        for aim, n in wanted.items()
        if store.measured((name, kind, aim[0].name, aim[1])) < n
    )
    if store.measured((name, kind, OFF, None)) >= plain:
        plain = 0
    return Task(checkpoint, kind, split, max([plain, *(n for _, n in aims)]), aims)


def answer_all(question: Question, aims: Sequence[Aim]) -> list[Outcome]:
    """Answer a question uncompressed, then under each method.

    A method that cannot go so low is left out.
    """
    plain = question.plain_answer
    outcomes = [_outcome(OFF, None, question, plain)]
    for method, reduction in aims:
        try:
            answer = method.answer(question, 1.0 if reduction is None else 1 - reduction)
        except Unreachable:
            continue
        outcomes.append(_outcome(method.name, reduction, question, answer))
    return outcomes


def _outcome(method: str, reduction: float | None, question: Question, answer: Answer) -> Outcome:
    result = answer.result
    return Outcome(
        method=method,
        reduction=reduction,
        right=answer.text == question.asked.answer,
        same=answer.text == question.plain_answer.text,
        averaged=result.layer_averaged_visual_token_count,
        source=question.token_count,
        cache_bytes=result.cache_byte_count,
        flops=prefill_flops(question, result),
        prefill_s=result.prefill_seconds,
        decode_s=result.decode_seconds,
    )


@lru_cache(maxsize=1)
def _loaded(checkpoint: str) -> Checkpoint:
    torch.set_num_threads(1)
    return Checkpoint.load(checkpoint)


def _answer_chunk(
    task: Task, start: int, asked: Sequence[Asked]
) -> tuple[list[list[Outcome]], int]:
    """Answer some questions on one thread: small models gain nothing from more.

    It runs in a process of its own.

    Returns:
        The outcomes of each question, and how many answers were asked for.
    """
    answers = []
    for index, asked_question in enumerate(asked, start):
        question = Question(_loaded(task.checkpoint), asked_question, task.kind, index)
        answers.append(answer_all(question, [aim for aim, n in task.aims if index < n]))
    count = len(asked) + sum(1 for i in range(len(asked)) for _, n in task.aims if start + i < n)
    return answers, count


def run(tasks: Sequence[Task], store: Store, jobs: int | None = None) -> Iterator[list[Row]]:
    """Measure tasks in order; yield the rows of each once the store holds them.

    Args:
        tasks: what to ask.
        store: keeps the rows.
        jobs: processes; None for one a core.
    """
    tasks = [task for task in tasks if task.n]
    total = sum(task.answer_count for task in tasks)
    context = get_context("spawn")
    workers = jobs or os.cpu_count() or 1
    with (
        ProcessPoolExecutor(workers, context, end_with_parent, (os.getpid(),)) as pool,
        tqdm(total=total, unit="answer", smoothing=0.05) as bar,
    ):
        for task in tasks:
            bar.set_description(f"{Path(task.checkpoint).name} {task.kind}")
            rows = rows_of(
                Path(task.checkpoint).name, task.kind, _answers(pool, task, workers, bar)
            )
            store.keep(rows)
            yield rows


def _answers(pool: ProcessPoolExecutor, task: Task, workers: int, bar: tqdm) -> list[list[Outcome]]:
    """Return all outcomes of a task, question by question.

    Files are rendered here, a few chunks ahead.
    """
    asked = file_questions(task.kind, task.n, task.split)
    waiting: list[Future[tuple[list[list[Outcome]], int]]] = []
    answers: list[list[Outcome]] = []
    start = 0
    while True:
        while len(waiting) < 2 * workers and (chunk := list(islice(asked, _CHUNK))):
            waiting.append(pool.submit(_answer_chunk, task, start, chunk))
            start += len(chunk)
        if not waiting:
            return answers
        found, count = waiting.pop(0).result()
        answers += found
        bar.update(count)
