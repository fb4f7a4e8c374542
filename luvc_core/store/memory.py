"""A store in this process that drops the least recently used values first."""

from collections import OrderedDict

from luvc_core.store.base import Store


class MemoryStore(Store):
    """Values in a dictionary: `max_bytes` of them at most, each of `max_item_bytes` at most."""

    def __init__(self, max_bytes: int, max_item_bytes: int) -> None:
        self._values: OrderedDict[str, bytes] = OrderedDict()
        self._max_bytes = max_bytes
        self._max_item_bytes = min(max_bytes, max_item_bytes)
        self.byte_count = 0

    async def get(self, key: str) -> bytes | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    async def put(self, key: str, value: bytes) -> bool:
        await self.drop(key)
        if len(value) > self._max_item_bytes:
            return False
        self._values[key] = value
        self.byte_count += len(value)
        while self.byte_count > self._max_bytes:
            _, old = self._values.popitem(last=False)
            self.byte_count -= len(old)
        return True

    async def drop(self, key: str) -> None:
        self.byte_count -= len(self._values.pop(key, b""))

    async def claim(self, key: str, owner: str) -> bool:
        # No other process makes values for this one, and TokenCache joins requests before this.
        return True

    async def renew(self, key: str, owner: str) -> bool:
        return True

    async def release(self, key: str, owner: str) -> None:
        pass

    async def close(self) -> None:
        self._values.clear()
        self.byte_count = 0
