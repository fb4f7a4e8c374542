"""Answer all questions once for each line of stdin, in the process of a system under test.

Standard library only, as each system has an environment of its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """What a system is asked.

    Attributes:
        model: a folder.
        files: an image for each of `questions`.
        new: tokens of each answer, no fewer.
        concurrency: how many questions are asked at once.
        dtype: what the model computes in.
    """

    model: str
    files: Sequence[str]
    questions: Sequence[str]
    new: int
    concurrency: int
    dtype: str

    def write(self, path: Path) -> Path:
        """Write the task as JSON; return the path."""
        path.write_text(json.dumps(vars(self)))
        return path


def answer_rounds(start: Callable[[Task], Callable[[], Sequence[int]]]) -> None:
    """Load, warm up with one round, say so, and then answer a round for each line on stdin.

    A line of JSON a round goes to stdout; what libraries print from here on goes to stderr.

    Args:
        start: loads; what it returns answers all questions and gives the number of tokens of each
            answer.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task = Task(**json.loads(Path(sys.argv[1]).read_text()))
    answer_all = start(task)
    answer_all()
    print("ready", file=out, flush=True)
    for _ in sys.stdin:
        before = time.perf_counter()
        lengths = answer_all()
        seconds = time.perf_counter() - before
        print(json.dumps({"seconds": seconds, "lengths": list(lengths)}), file=out, flush=True)
