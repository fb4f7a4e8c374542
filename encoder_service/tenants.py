"""Who calls: a tenant by its API key. Keys are kept as digests, and compared as digests."""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from encoder_service.config import EncoderConfig
from encoder_service.errors import status_of
from luvc_core.errors import Unauthenticated
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.deadline import Deadline

_LINE = re.compile(r"([0-9a-f]{64})\s+([\w.-]{1,64})")
# Asked for by load balancers, and by decoders that were told a handle of 256 random bits.
_OPEN = ("/grpc.health.v1.Health/", "/luvc.v1.EncoderService/FetchTokens")


class Tenants:
    """Tenants by their keys. Without any, everybody is the one tenant that has no name."""

    def __init__(self, by_digest: dict[str, str], config: EncoderConfig) -> None:
        self._by_digest = by_digest
        waiting = config.tenant_waiting
        self._slots = {
            name: AdmissionLimiter(config.tenant_active, waiting)
            for name in {*by_digest.values(), ""}
        }

    @property
    def waiting(self) -> int:
        """Requests that wait for one of their tenant's places."""
        return sum(slots.waiting for slots in self._slots.values())

    @classmethod
    def load(cls, config: EncoderConfig) -> "Tenants":
        """From the file of the configuration. Raises OSError, or ValueError naming a bad line."""
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
        """The tenant of a call by `authorization: Bearer KEY` or `x-api-key: KEY`.

        Raises Unauthenticated.
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
    async def turn(self, tenant: str, deadline: Deadline) -> AsyncIterator[None]:
        """One of a tenant's own places, for the time of the block. Raises Overloaded at once."""
        if not tenant:
            yield
            return
        async with self._slots[tenant].take(deadline):
            yield


class ApiKeyInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without a known key before their message is parsed.

    refused: told the code of each.
    """

    def __init__(self, tenants: Tenants, refused: Callable[[str], None]) -> None:
        self._tenants = tenants
        self._refused = refused

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        if not details.method.startswith(_OPEN):
            try:
                self._tenants.of(details.invocation_metadata)
            except Unauthenticated as error:
                self._refused(error.code)
                return _refusing(error)
        return await continuation(details)


def _refusing(error: Unauthenticated) -> Any:
    status = status_of(error, "")

    async def refuse(request: Any, context: Any) -> None:
        await context.abort(status.code, status.message, status.trailing_metadata)

    return grpc.unary_unary_rpc_method_handler(refuse)
