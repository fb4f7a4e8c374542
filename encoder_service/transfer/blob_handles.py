"""Tokens promised to a decoder: kept until it has them or the request is over."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager


class HeldBlobs:
    """Blobs by a random handle, bounded in bytes. A handle is 256 bits that only the decoder is
    told, and good while its request lasts."""

    def __init__(self, max_bytes: int) -> None:
        self._blobs: dict[str, bytes] = {}
        self._max_bytes = max_bytes
        self.byte_count = 0

    def fits(self, byte_count: int) -> bool:
        """Whether another blob may be promised now."""
        return self.byte_count + byte_count <= self._max_bytes

    def get(self, handle: str) -> bytes | None:
        """The blob, None once the promise is over."""
        return self._blobs.get(handle)

    @contextmanager
    def hold(self, blob: bytes) -> Iterator[str]:
        """Keep a blob that fits for the time of the block, under the handle that it yields."""
        handle = secrets.token_hex(32)
        self._blobs[handle] = blob
        self.byte_count += len(blob)
        try:
            yield handle
        finally:
            self.byte_count -= len(self._blobs.pop(handle))
