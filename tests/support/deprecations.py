"""Fail a test during which transformers logs that something is deprecated.

What it raises as a warning instead is an error by `filterwarnings` in pyproject.toml.
"""

import logging
from collections.abc import Iterator

import pytest


class Deprecations(logging.Handler):
    """A log handler that keeps messages about deprecation.

    It listens from the start, as fixtures of the session run before those of any test.
    """

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "deprecat" in message.lower():
            self.messages.append(message)

    def take(self) -> list[str]:
        """Return the messages since the last call."""
        messages, self.messages = self.messages, []
        return messages


SEEN = Deprecations()
logging.getLogger("transformers").addHandler(SEEN)


@pytest.fixture(autouse=True)
def nothing_deprecated() -> Iterator[None]:
    """Check, after each test, that nothing deprecated has been logged."""
    yield
    messages = SEEN.take()
    assert not messages, messages
