"""Visual tokens from the store, else encoded once for all requests that want them."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch

from luvc_core.errors import Unavailable
from luvc_core.runtime.async_tasks import run_to_completion
from luvc_core.runtime.deadline import Deadline
from luvc_core.store.base import Store, StoreFailed
from luvc_core.store.single_flight import SingleFlight
from luvc_core.visual_tokens.blob import BadValue, from_blob, to_blob
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import VisionTokens

log = logging.getLogger(__name__)

Origin = Literal["encoded", "joined", "stored"]
Make = Callable[[], Awaitable[VisionTokens]]
_SHORTEST_POLL_SECONDS = 0.01
_LONGEST_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class CacheEntry:
    """Visual tokens and where they came from.

    Attributes:
        key: their key in the store.
        tokens: the visual tokens.
        blob: their bytes, None where there is no store.
        origin: "encoded" for this request, "joined" from another request that had them encoded
            at the same time, or "stored".
        kept: whether the store has them, as far as known.
        store_problem: why the store was not used; empty where it was.
    """

    key: str
    tokens: VisionTokens
    blob: bytes | None
    origin: Origin
    kept: bool = False
    store_problem: str = ""


@dataclass
class CacheCounts:
    """Counts of what the cache has done since it was made.

    Attributes:
        stored: lookups that the store answered.
        joined: lookups that waited for another request's encoding.
        encoded: images and videos that were encoded.
        bad_values: stored values that were damaged or of another model.
        failures: calls of the store that failed.
    """

    stored: int = 0
    joined: int = 0
    encoded: int = 0
    bad_values: int = 0
    failures: int = 0


class TokenCache:
    """Looks visual tokens up in the store, or has them encoded.

    A key is encoded at most once at a time: in this process and, where the store is shared, in all
    processes that share it. Every value read is checked; a bad one is dropped, counted and encoded
    again.
    """

    def __init__(
        self,
        store: Store | None,
        identity: Identity,
        dtype: torch.dtype,
        offload: Callable[..., Awaitable[Any]],
    ) -> None:
        """Make an empty cache over a store.

        Args:
            store: None stores nothing.
            identity: what stored tokens must have been made by.
            dtype: what stored embeddings must have.
            offload: runs work that copies or digests megabytes off the event loop.
        """
        self.counts = CacheCounts()
        self._store = store
        self._identity = identity
        self._dtype = dtype
        self._offload = offload
        self._encodes = SingleFlight[CacheEntry]()

    async def find(self, key: str, strict: bool = False) -> CacheEntry | None:
        """Return what is stored under a key, or None.

        Raises:
            Unavailable: if the store fails and `strict` is set; else a store that fails is empty.
        """
        if self._store is None:
            return None
        try:
            return await self._look_up(self._store, key)
        except StoreFailed as error:
            self._count_failure(error, strict)
            return None

    async def get(
        self, key: str, make: Make, deadline: Deadline, strict: bool = False
    ) -> CacheEntry:
        """Return what is stored under a key, else the result of `make`, which is then stored.

        Args:
            key: from `store.keys`.
            make: encodes the media; runs once for all callers that ask at the same time.
            deadline: of the work, which other callers may share.
            strict: whether a store that fails ends the request, instead of going on without it.

        Raises:
            DeadlineExceeded: if the work took too long.
            Unavailable: if the store fails and `strict` is set.
        """

        async def work() -> CacheEntry:
            return await deadline.wait_for(self._look_up_or_make(key, make, strict))

        entry, started = await self._encodes.join(f"{key}{strict}", work)
        if started or entry.origin == "stored":
            return entry
        self.counts.joined += 1
        return CacheEntry(key, entry.tokens, entry.blob, "joined", entry.kept, entry.store_problem)

    async def _look_up_or_make(self, key: str, make: Make, strict: bool) -> CacheEntry:
        store, store_problem = self._store, ""
        if store is not None:
            owner = secrets.token_hex(16)
            try:
                if entry := await self._look_up(store, key):
                    return entry
                async with _leased(store, key, owner):
                    if entry := await self._poll_until_claimed(store, key, owner):
                        return entry
                    return await self._make(store, key, make)
            except StoreFailed as error:
                store_problem = self._count_failure(error, strict)
        return await self._make(None, key, make, store_problem)

    async def _poll_until_claimed(self, store: Store, key: str, owner: str) -> CacheEntry | None:
        """Wait for another encoder's value, or return None once this one holds the lease."""
        wait = _SHORTEST_POLL_SECONDS
        while not await run_to_completion(store.claim(key, owner)):
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_POLL_SECONDS)
            if entry := await self._look_up(store, key):
                return entry
        # The last owner may have stored the value after we looked and before it gave up the lease.
        return await self._look_up(store, key)

    async def _look_up(self, store: Store, key: str) -> CacheEntry | None:
        blob = await store.get(key)
        if blob is None:
            return None
        try:
            tokens = await self._offload(from_blob, blob, key)
            self._check_usable(tokens)
        except BadValue as error:
            self.counts.bad_values += 1
            log.warning("a bad value is dropped from the store: %s: %s", key[:12], error)
            await store.drop(key)
            return None
        self.counts.stored += 1
        return CacheEntry(key, tokens, blob, "stored", kept=True)

    def _check_usable(self, tokens: VisionTokens) -> None:
        if tokens.identity != self._identity:
            raise BadValue(f"made by {tokens.identity}")
        if tokens.embeddings.dtype != self._dtype:
            raise BadValue(f"embeddings of {tokens.embeddings.dtype}")

    async def _make(
        self, store: Store | None, key: str, make: Make, store_problem: str = ""
    ) -> CacheEntry:
        self.counts.encoded += 1
        log.info("encoding %s", key[:12])
        tokens = await make()
        blob, kept = None, False
        if store is not None:
            blob = await self._offload(to_blob, tokens, key)
            try:
                kept = await store.put(key, blob)
            except StoreFailed as error:
                store_problem = self._count_failure(error)
        return CacheEntry(key, tokens, blob, "encoded", kept, store_problem)

    def _count_failure(self, error: StoreFailed, strict: bool = False) -> str:
        self.counts.failures += 1
        if strict:
            raise Unavailable(str(error)) from error
        return str(error)


@asynccontextmanager
async def _leased(store: Store, key: str, owner: str) -> AsyncIterator[None]:
    """Renew a lease that is taken inside the block, and give it back at the end.

    The block surrounds the taking, because a call that is cancelled while it takes the lease may
    hold it already. A store that fails meanwhile costs at most another encode.
    """

    async def renew() -> None:
        while True:
            await asyncio.sleep(store.lease_seconds / 3)
            with suppress(StoreFailed):
                await store.renew(key, owner)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        with suppress(StoreFailed):
            await run_to_completion(store.release(key, owner))
