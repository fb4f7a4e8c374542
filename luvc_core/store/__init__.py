"""Merged visual tokens kept for the next question: where, under which key, checked how.

`base` is the contract; `memory` and `redis` keep values; `keys` names them, `blob` writes and
checks them, `cache` brings it together: one encode however many ask.
"""

from luvc_core.store.base import Store
from luvc_core.store.memory import MemoryStore
from luvc_core.store.redis import RedisStore


def open_store(
    place: str, *, max_bytes: int, max_item_bytes: int, ttl: float, timeout: float
) -> Store | None:
    """The store at a place: `memory`, `none` or a Redis URL.

    max_bytes is for memory; ttl and timeout, in seconds, for Redis, which is connected to when
    first used. Call it on the event loop that uses it.
    """
    if place == "none":
        return None
    if place == "memory":
        return MemoryStore(max_bytes, max_item_bytes)
    return RedisStore(place, max_item_bytes, ttl, timeout)


def is_shared(place: str) -> bool:
    """Whether other processes see what is kept there."""
    return place.startswith(("redis://", "rediss://", "unix://"))
