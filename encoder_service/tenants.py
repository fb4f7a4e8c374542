"""Tenants, who call with API keys.

Keys are kept as SHA-256 digests, and compared as digests.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from encoder_service.config import EncoderConfig
from luvc_core.errors import Unauthenticated
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.deadline import Deadline

_LINE = re.compile(r"([0-9a-f]{64})\s+([\w.-]{1,64})")


class Tenants:
    """Tenants by their keys. Without any keys, everybody is one tenant without a name."""

    def __init__(self, by_digest: dict[str, str], config: EncoderConfig) -> None:
        self._by_digest = by_digest
        self._limiters = {
            name: AdmissionLimiter(config.tenant_active, config.tenant_waiting)
            for name in {*by_digest.values(), ""}
        }

    @property
    def waiting(self) -> int:
        """How many requests wait because their tenant has too many at work."""
        return sum(limiter.waiting for limiter in self._limiters.values())

    @classmethod
    def from_file(cls, config: EncoderConfig) -> "Tenants":
        """Read the file of `--api-keys`. Raises OSError, or ValueError naming a bad line."""
        by_digest: dict[str, str] = {}
        lines = Path(config.api_keys).read_text().splitlines() if config.api_keys else []
        for number, line in enumerate(lines, 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            match = _LINE.fullmatch(text)
            if match is None:
                raise ValueError(
                    f"--api-keys: line {number} is not the SHA-256 of a key, hex, and a tenant"
                )
            by_digest[match[1]] = match[2]
        if config.api_keys and not by_digest:
            raise ValueError("--api-keys: the file has no keys")
        return cls(by_digest, config)

    def of(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
        """Return the tenant of a call by the API key in its metadata.

        The key comes as `authorization: Bearer KEY` or as `x-api-key: KEY`. Raises Unauthenticated
        where there is none, or one that is not known.
        """
        if not self._by_digest:
            return ""
        for name, value in metadata or ():
            text = value.decode(errors="replace") if isinstance(value, bytes) else value
            if name == "authorization" and text[:7].lower() == "bearer ":
                key = text[7:]
            elif name == "x-api-key":
                key = text
            else:
                continue
            digest = hashlib.sha256(key.strip().encode(errors="replace")).hexdigest()
            if digest in self._by_digest:
                return self._by_digest[digest]
            raise Unauthenticated("this API key is not known")
        raise Unauthenticated("no API key; send authorization: Bearer KEY, or x-api-key: KEY")

    @asynccontextmanager
    async def slot(self, tenant: str, deadline: Deadline) -> AsyncIterator[None]:
        """Hold one of the tenant's slots for the time of the block; wait for one before.

        Callers without a tenant need no slot. Raises Overloaded at once where too many of the
        tenant's requests wait already.
        """
        if not tenant:
            yield
            return
        async with self._limiters[tenant].slot(deadline):
            yield
