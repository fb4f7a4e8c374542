"""The store of merged visual tokens, so that a repeated image or video is not encoded again.

`base` is the contract, `memory` and `redis` implement it, `keys` says what a key depends on, and
`cache` looks tokens up or has them encoded, once for all requests that want them.
"""

from luvc_core.store.base import Store
from luvc_core.store.memory import MemoryStore
from luvc_core.store.redis import RedisStore


def open_store(
    location: str, *, max_bytes: int, max_item_bytes: int, ttl: float, timeout: float
) -> Store | None:
    """Return the store at a location, or None for `none`.

    Call it on the event loop that uses the store. Redis is connected to at the first use.

    Args:
        location: `memory`, `none` or a Redis URL.
        max_bytes: limit of all values together; for `memory` only.
        max_item_bytes: limit of one value.
        ttl: seconds after which Redis drops a value.
        timeout: seconds that one call to Redis may take.
    """
    if location == "none":
        return None
    if location == "memory":
        return MemoryStore(max_bytes, max_item_bytes)
    return RedisStore(location, max_item_bytes, ttl, timeout)


def is_shared(location: str) -> bool:
    """Tell whether other processes see what is stored at a location."""
    return location.startswith(("redis://", "rediss://", "unix://"))
