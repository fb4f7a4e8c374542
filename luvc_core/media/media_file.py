"""Media as callers send them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MediaFile:
    """An image or video as it was sent.

    Attributes:
        data: the content of the file. Empty where only the digest of an earlier one was sent.
        field: the part of the request that holds it, for errors.
        digest: SHA-256 of the content, empty where the caller did not send it.
    """

    data: bytes
    field: str
    digest: bytes = b""
