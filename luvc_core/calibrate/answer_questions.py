"""Greedy answers from the same engine that serves."""

from collections.abc import Sequence
from dataclasses import dataclass

from luvc_core.chat import Message, SamplingParams
from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.pruner import Pruner
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request, Result
from luvc_core.visual_tokens.vision_tokens import VisionTokens


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        text: without white space at its ends.
        result: why it ended, and how many tokens it took.
    """

    text: str
    result: Result


def ask(
    engine: RequestProcessor,
    tokens: Sequence[VisionTokens],
    question: str,
    pruning: SpuSettings | Pruner | None,
    max_tokens: int = 16,
) -> Answer:
    """Answer a question about media greedily.

    Args:
        engine: the language half with its tokenizer.
        tokens: visual tokens of the media, which precede the question in the prompt.
        question: its text.
        pruning: which visual tokens to drop; None drops none.
        max_tokens: longest answer.
    """
    request = Request((Message("user", (*tokens, question)),), SamplingParams(max_tokens), pruning)
    generation = engine.start(request)
    text = ""
    while (event := generation.step()) is not None:
        text += event.text
        if event.result is not None:
            return Answer(text.strip(), event.result)
    raise AssertionError("an answer ends with a result")
