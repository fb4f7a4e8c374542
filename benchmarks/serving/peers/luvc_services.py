"""The product as a system under test: both services, asked over gRPC by several clients.

Nothing of earlier requests is kept, as every round brings the same images.
"""

import atexit
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from luvc import Client
from luvc.local_stack.free_port import free_port
from luvc.local_stack.launcher import Stack

from benchmarks.serving.peers.peer_worker import Task, answer_rounds

START_SECONDS = 300.0
# A slow machine has to answer slowly, not to refuse.
PATIENCE = 1200.0


def start(task: Task) -> Callable[[], Sequence[int]]:
    """Start the services; return what answers all questions and tells the tokens of each answer."""
    os.environ["LUVC_ENCODER_STORE"] = "none"
    for half in ("ENCODER", "DECODER"):
        os.environ[f"LUVC_{half}_DTYPE"] = task.dtype
        os.environ[f"LUVC_{half}_TIMEOUT"] = str(PATIENCE)
    running = Stack(task.model, port=free_port(), decoder_port=free_port()).running(START_SECONDS)
    stack = running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    client = Client(stack.endpoint)

    def ask(asked: tuple[str, str]) -> int:
        file, question = asked
        data = Path(file).read_bytes()
        answer = client.ask(question, data, max_tokens=task.new, timeout=PATIENCE)
        return answer.usage.completion_token_count

    def answer_all() -> list[int]:
        with ThreadPoolExecutor(task.concurrency) as pool:
            return list(pool.map(ask, zip(task.files, task.questions, strict=True)))

    return answer_all


if __name__ == "__main__":
    answer_rounds(start)
