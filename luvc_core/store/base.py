"""The contract of a store: bytes by key, and leases on keys."""

from abc import ABC, abstractmethod


class StoreFailed(Exception):
    """The store did not do what was asked: unreachable, slow, full, or not ours to use.

    No LuvcError: it is the cache's to handle, and a caller sees it only where it asked to.
    """


class Store(ABC):
    """Immutable values by key, for one event loop.

    Every call ends within the store's own time limit, with a result or StoreFailed. What was put
    may be gone at any later moment. A lease says who is making a value: it ends by itself after
    `lease_seconds`, so that a dead owner blocks nobody; whoever holds one renews it.
    """

    lease_seconds: float = 2.0

    @abstractmethod
    async def get(self, key: str) -> bytes | None:
        """The value, not checked in any way; None where there is none. Counts as a use."""

    @abstractmethod
    async def put(self, key: str, value: bytes) -> bool:
        """Keep a value, replacing another. False where it is over the limit of an item."""

    @abstractmethod
    async def drop(self, key: str) -> None:
        """Forget a value, if there is one."""

    @abstractmethod
    async def claim(self, key: str, owner: str) -> bool:
        """Take the lease on a key. False while another owner has it."""

    @abstractmethod
    async def renew(self, key: str, owner: str) -> bool:
        """Keep a lease for another `lease_seconds`. False where it is lost."""

    @abstractmethod
    async def release(self, key: str, owner: str) -> None:
        """Give a lease back, if it is still the owner's."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections. Nothing may be called afterwards."""
