"""Questions for both services, asked by several clients at once."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from luvc import Client, LuvcError
from luvc.v1 import usage_pb2

from benchmarks.tasks.question_files import file_questions

KINDS = ("presence", "document", "text", "colour", "chart")
# Each has 256 tokens of 192 numbers of 2 bytes.
MEGABYTE_IMAGES = 10


@dataclass(frozen=True)
class Question:
    """Text about the files of images, or about nothing."""

    text: str
    files: tuple[bytes, ...]


@dataclass(frozen=True)
class Asked:
    """One answer.

    Attributes:
        text: None where it failed.
        first: seconds to the first piece.
        gaps: seconds between pieces.
        total: seconds to the end.
    """

    text: str | None
    first: float
    gaps: tuple[float, ...]
    total: float
    usage: usage_pb2.Usage | None = None


@dataclass(frozen=True)
class Row:
    """Several clients at once, in one round. Times in milliseconds.

    Attributes:
        concurrent: how many clients.
        tokens: of an answer, the mean.
        ttft_p50: median time to the first piece.
        gap_p50: median time between pieces.
    """

    profile: str
    concurrent: int
    requests: int
    failures: int
    tokens: float
    requests_per_s: float
    ttft_p50: float
    ttft_p95: float
    gap_p50: float
    gap_p95: float


def questions(count: int) -> list[Question]:
    """Return questions of all kinds in turn.

    Text alone asks what an image's question asks, without the image.
    """
    each = -(-count // len(KINDS))
    found = {
        kind: [
            Question(q.question, () if kind == "text" else q.files)
            for q in file_questions("count" if kind == "text" else kind, each)
        ]
        for kind in KINDS
    }
    dealt = [q for group in zip(*found.values(), strict=True) for q in group]
    return dealt[:count]


def megabyte_questions(count: int) -> list[Question]:
    """Return questions about several images each, whose tokens are a megabyte together."""
    asked = list(file_questions("presence", count * MEGABYTE_IMAGES))
    groups = [asked[i::count] for i in range(count)]
    return [Question(group[0].question, tuple(q.files[0] for q in group)) for group in groups]


def ask(client: Client, question: Question, profile: str, max_tokens: int) -> Asked:
    """Ask one question over gRPC.

    Args:
        client: of the encoder.
        question: the text and its files.
        profile: of the compression.
        max_tokens: of the answer.
    """
    start = time.perf_counter()
    times, pieces = [start], []
    try:
        stream = client.stream(
            question.text, *question.files, profile=profile, max_tokens=max_tokens, timeout=110
        )
        for piece in stream:
            times.append(time.perf_counter())
            pieces.append(piece)
    except LuvcError:
        return Asked(None, 0.0, (), time.perf_counter() - start)
    total = time.perf_counter() - start
    gaps = tuple(b - a for a, b in pairwise(times[1:]))
    first = times[min(1, len(times) - 1)] - start
    return Asked("".join(pieces), first, gaps, total, stream.answer.usage)


def load(
    client: Client, asked: Sequence[Question], profile: str, concurrent: int, max_tokens: int
) -> tuple[Row, list[Asked]]:
    """Ask all questions by several clients, each with the next one when it has its answer.

    Args:
        client: of the encoder.
        asked: the questions.
        profile: of the compression.
        concurrent: how many clients.
        max_tokens: of an answer.

    Returns:
        The row, and the answers in order.
    """
    start = time.perf_counter()
    with ThreadPoolExecutor(concurrent) as pool:
        answers = list(pool.map(lambda question: ask(client, question, profile, max_tokens), asked))
    seconds = time.perf_counter() - start
    good = [a for a in answers if a.text is not None]
    firsts = [a.first for a in good]
    gaps = [gap for a in good for gap in a.gaps]
    tokens = fmean([a.usage.completion_token_count for a in good if a.usage] or [0])
    row = Row(
        profile, concurrent, len(answers), len(answers) - len(good), round(tokens, 1),
        round(len(good) / seconds, 3),
        _ms(firsts, 0.5), _ms(firsts, 0.95), _ms(gaps, 0.5), _ms(gaps, 0.95),
    )  # fmt: skip
    return row, answers


def _ms(seconds: Sequence[float], share: float) -> float:
    ordered = sorted(seconds)
    if not ordered:
        return 0.0
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
