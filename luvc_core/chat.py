"""Conversations as the models see them, and how an answer is sampled."""

import math
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from luvc_core.errors import InvalidInput, InvalidSettings

MediaT = TypeVar("MediaT")
Role = Literal["system", "user", "assistant"]
MAX_STOP_STRINGS = 16


@dataclass(frozen=True)
class Message(Generic[MediaT]):
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        parts: text and media in reading order. Media are files, patches or VisionTokens, by how far
            the request has come.
    """

    role: Role
    parts: tuple[str | MediaT, ...]


def check_conversation(messages: tuple[Message[MediaT], ...]) -> None:
    """Raise InvalidInput unless the conversation can be answered."""
    if not messages:
        raise InvalidInput("messages", "empty", "at least one message")
    for i, message in enumerate(messages):
        field = f"messages[{i}]"
        if not message.parts:
            raise InvalidInput(f"{field}.parts", "empty", "text or media")
        if message.role == "system" and i > 0:
            raise InvalidInput(f"{field}.role", "system", "system only as the first message")
        if message.role != "user" and any(not isinstance(p, str) for p in message.parts):
            raise InvalidInput(f"{field}.parts", "media outside a user message", "text")
    last = messages[-1]
    if last.role != "user":
        raise InvalidInput(f"messages[{len(messages) - 1}].role", last.role, "user")
    if not any(isinstance(p, str) and p.strip() for p in last.parts):
        raise InvalidInput("messages", "the last message has no text", "a question")


@dataclass(frozen=True)
class SamplingParams:
    """Parameters by which the tokens of an answer are sampled. Fields as in luvc.v1.Sampling.

    Attributes:
        max_tokens: how long the answer may be.
        temperature: in [0, 2]; 0 takes the likeliest token.
        top_p: share of the probability from which tokens are sampled, in (0, 1].
        seed: None for a random one.
        stop: strings that end the answer.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InvalidSettings("sampling.max_tokens", f"got {self.max_tokens}", ">= 1")
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 2):
            raise InvalidSettings("sampling.temperature", f"got {self.temperature}", "[0, 2]")
        if not 0 < self.top_p <= 1:
            raise InvalidSettings("sampling.top_p", f"got {self.top_p}", "(0, 1]")
        if len(self.stop) > MAX_STOP_STRINGS or "" in self.stop:
            raise InvalidSettings(
                "sampling.stop", f"got {list(self.stop)}", f"at most {MAX_STOP_STRINGS}, none empty"
            )
