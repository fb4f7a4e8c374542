"""Deprecations that transformers tells of through its logger: each fails the test it shows up in.

Those it raises as warnings are errors by pytest's own `filterwarnings`.
"""

import logging
from collections.abc import Iterator

import pytest


class Deprecations(logging.Handler):
    """Keeps what is logged about deprecation. Fixtures of a session log before any test begins, so
    it listens from the start."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "deprecat" in message.lower():
            self.messages.append(message)

    def take(self) -> list[str]:
        """Return what was kept, and forget it."""
        messages, self.messages = self.messages, []
        return messages


SEEN = Deprecations()
logging.getLogger("transformers").addHandler(SEEN)


@pytest.fixture(autouse=True)
def nothing_deprecated() -> Iterator[None]:
    yield
    messages = SEEN.take()
    assert not messages, messages
