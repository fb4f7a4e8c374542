"""The contract of a store: bytes by key, and leases on keys."""

from abc import ABC, abstractmethod


class StoreFailed(Exception):
    """The store did not do what was asked: unreachable, slow, full, or access denied.

    Not a ServiceError: the cache handles it, and a caller sees it only where it asked to.
    """


class Store(ABC):
    """Immutable values by key, and leases on keys. One event loop uses it.

    Every call ends within the store's own time limit, with a result or StoreFailed. A stored value
    may be gone at any later moment. A lease says who is making a value. It ends by itself after
    `lease_seconds`, so that an owner that died blocks nobody; its owner renews it until then.
    """

    lease_seconds: float = 2.0

    @abstractmethod
    async def get(self, key: str) -> bytes | None:
        """Return the value, unchecked, or None where there is none. Counts as a use."""

    @abstractmethod
    async def put(self, key: str, value: bytes) -> bool:
        """Store a value, replacing another. False where it is over the limit of one value."""

    @abstractmethod
    async def drop(self, key: str) -> None:
        """Delete a value, if there is one."""

    @abstractmethod
    async def claim(self, key: str, owner: str) -> bool:
        """Take the lease on a key. False while another owner holds it."""

    @abstractmethod
    async def renew(self, key: str, owner: str) -> bool:
        """Extend a lease by `lease_seconds` from now. False where the owner has lost it."""

    @abstractmethod
    async def release(self, key: str, owner: str) -> None:
        """Give a lease back, if the owner still holds it."""

    @abstractmethod
    async def close(self) -> None:
        """Close connections. Nothing may be called afterwards."""
