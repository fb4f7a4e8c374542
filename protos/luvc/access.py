"""How a client shows who it is, and checks who answers."""

import os
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True)
class Tls:
    """An encrypted connection. All are PEM files.

    authorities: who may vouch for the service; the system's own if None. certificate and key: what
    to show a service that asks for it.
    """

    authorities: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError for a file that cannot be read."""
        files = (self.authorities, self.key, self.certificate)
        return grpc.ssl_channel_credentials(*(Path(f).read_bytes() if f else None for f in files))


# To all addresses of a name, each call to the next one: a connection to one of them would keep all
# calls there. With one address it changes nothing.
CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    # By default one that was away is left alone for a second and up to two minutes; meanwhile every
    # retry of a request ends at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def metadata_of(api_key: str) -> tuple[tuple[str, str], ...]:
    """What every call says about its caller."""
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()
