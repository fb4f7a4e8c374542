"""Blobs of visual tokens held for a decoder until it has fetched them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager


class HeldBlobs:
    """Blobs by a random handle, bounded in bytes.

    A handle is 256 random bits that only the decoder knows. It is valid until the decoder has
    the tokens, or the request is over.

    Attributes:
        byte_count: bytes of all blobs that are held now.
    """

    def __init__(self, max_bytes: int) -> None:
        self._blobs: dict[str, bytes] = {}
        self._max_bytes = max_bytes
        self.byte_count = 0

    def fits(self, byte_count: int) -> bool:
        """Return whether another blob of that size may be held now."""
        return self.byte_count + byte_count <= self._max_bytes

    def get(self, handle: str) -> bytes | None:
        """Return the blob under a handle; None where it is not, or no longer, held."""
        return self._blobs.get(handle)

    @contextmanager
    def hold(self, blob: bytes) -> Iterator[str]:
        """Hold a blob that fits for the time of the block, under the handle that it yields."""
        handle = secrets.token_hex(32)
        self._blobs[handle] = blob
        self.byte_count += len(blob)
        try:
            yield handle
        finally:
            self.byte_count -= len(self._blobs.pop(handle))
