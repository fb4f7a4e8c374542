"""API keys and TLS of a client."""

import os
from dataclasses import dataclass
from pathlib import Path

import grpc

PathLike = str | os.PathLike[str]


def read_pem(path: PathLike | None) -> bytes | None:
    """Read a PEM file; return None where no file is named. Raises OSError."""
    return Path(path).read_bytes() if path else None


@dataclass(frozen=True)
class Tls:
    """An encrypted connection of a client. All files are PEM.

    Attributes:
        authorities: certificates of those that may vouch for the service; None for the system's.
        certificate: certificates to show a service that asks for them, together with `key`.
        key: the private key of `certificate`.
    """

    authorities: PathLike | None = None
    certificate: PathLike | None = None
    key: PathLike | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files into credentials of a channel. Raises OSError."""
        return grpc.ssl_channel_credentials(
            read_pem(self.authorities), read_pem(self.key), read_pem(self.certificate)
        )


# Spread the calls over all addresses of a name in turn, where gRPC would by default keep them on
# one. With a single address it changes nothing.
CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    # By default gRPC waits between 1 s and 2 min before it connects again to a server that was
    # away, and fails every call meanwhile.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def metadata_of(api_key: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata by which every call shows its API key; nothing without a key."""
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()
