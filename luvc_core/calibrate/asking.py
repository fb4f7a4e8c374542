"""Greedy answers from the product's own engine."""

from collections.abc import Sequence
from dataclasses import dataclass

from luvc_core.chat import Message, Sampling
from luvc_core.config import SpuSettings
from luvc_core.engine.engine import Engine, Request, Result
from luvc_core.engine.pruning import Pruner
from luvc_core.tokens import VisionTokens


@dataclass(frozen=True)
class Answer:
    """text: stripped of white space at its ends."""

    text: str
    result: Result


def ask(
    engine: Engine,
    tokens: Sequence[VisionTokens],
    question: str,
    pruning: SpuSettings | Pruner | None,
    max_tokens: int = 16,
) -> Answer:
    """The greedy answer about media, which stand before the question."""
    request = Request((Message("user", (*tokens, question)),), Sampling(max_tokens), pruning)
    session = engine.start(request)
    text = ""
    while (event := session.step()) is not None:
        text += event.text
        if event.result is not None:
            return Answer(text.strip(), event.result)
    raise AssertionError("an answer ends with a result")
