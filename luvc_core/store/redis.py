"""A store in Redis or Valkey, shared by encoders. The only module that imports redis."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from luvc_core.store.base import Store, StoreFailed

log = logging.getLogger(__name__)

_PREFIX = "luvc:1:"
_CONNECTIONS = 16
# After a failure no call is made for so long: a store that is down must not slow every request.
_PAUSE_SECONDS = 1.0
# Scripts, so that the check of the owner and the change are one step.
_RENEW = "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('PEXPIRE',KEYS[1],ARGV[2]) or 0"
_RELEASE = "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('DEL',KEYS[1]) or 0"


class RedisStore(Store):
    """Values with a time to live, and a time limit on every call.

    The server bounds memory: give it `maxmemory` and `allkeys-lru`, and store nothing else there
    that must last. Make it on the event loop that uses it.
    """

    def __init__(
        self, url: str, max_item_bytes: int, ttl: float, timeout: float, lease_seconds: float = 2.0
    ) -> None:
        self._max_item_bytes = max_item_bytes
        self._ttl_ms = int(ttl * 1000)
        self._timeout = timeout
        self.lease_seconds = lease_seconds
        self._lease_ms = int(lease_seconds * 1000)
        self._paused_until = 0.0
        # For logs, so without the password.
        self._host = urlsplit(url).hostname or "?"
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Redis = Redis.from_pool(pool)

    async def get(self, key: str) -> bytes | None:
        # A value longer than any that is stored here arrives cut short, and fails its check.
        last = self._max_item_bytes - 1
        value: bytes = await self._call(self._redis.getrange(_PREFIX + key, 0, last))
        return value or None

    async def put(self, key: str, value: bytes) -> bool:
        if len(value) > self._max_item_bytes:
            return False
        await self._call(self._redis.set(_PREFIX + key, value, px=self._ttl_ms))
        return True

    async def drop(self, key: str) -> None:
        await self._call(self._redis.delete(_PREFIX + key))

    async def claim(self, key: str, owner: str) -> bool:
        return bool(
            await self._call(self._redis.set(_lease(key), owner, nx=True, px=self._lease_ms))
        )

    async def renew(self, key: str, owner: str) -> bool:
        return bool(await self._call(self._eval(_RENEW, _lease(key), owner, str(self._lease_ms))))

    async def release(self, key: str, owner: str) -> None:
        await self._call(self._eval(_RELEASE, _lease(key), owner))

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _eval(self, script: str, key: str, *arguments: str) -> Any:
        return await self._redis.eval(script, 1, key, *arguments)

    async def _call(self, work: Awaitable[Any]) -> Any:
        """Return the result, or raise StoreFailed. The time limit includes getting a connection."""
        if time.monotonic() < self._paused_until:
            if asyncio.iscoroutine(work):
                work.close()
            raise StoreFailed(f"the store at {self._host} failed a moment ago")
        try:
            async with asyncio.timeout(self._timeout):
                return await work
        except (RedisError, OSError, TimeoutError) as error:
            why = type(error).__name__
            # A refusal, such as that of a full store, comes at once: other calls may succeed.
            if not isinstance(error, ResponseError):
                self._paused_until = time.monotonic() + _PAUSE_SECONDS
                # After a restart of the server every idle connection is dead, and would fail too.
                with suppress(RedisError, OSError):
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
            log.warning("the store at %s failed: %s: %s", self._host, why, error)
            raise StoreFailed(f"the store at {self._host} failed: {why}") from None


def _lease(key: str) -> str:
    return f"{_PREFIX}lease:{key}"
