"""`python -m luvc.probe HOST:PORT`: ask a service whether it serves, for health checks.

Exit status 0 where it does, 1 otherwise, within three seconds. Only without TLS.
"""

import sys
from typing import Any

import grpc

_CHECK = "/grpc.health.v1.Health/Check"
# HealthCheckResponse{status: SERVING} as bytes: the base package has no stubs of grpc.health.v1.
_SERVING = b"\x08\x01"
_SECONDS = 3.0


def main() -> int:
    """Ask once, and return the exit status."""
    if len(sys.argv) != 2:
        print("usage: python -m luvc.probe HOST:PORT", file=sys.stderr)
        return 2
    with grpc.insecure_channel(sys.argv[1]) as channel:
        ask: Any = channel.unary_unary(_CHECK)
        try:
            answer = ask(b"", timeout=_SECONDS)
        except grpc.RpcError as error:
            print(f"{sys.argv[1]}: {error.code().name}", file=sys.stderr)
            return 1
    return 0 if answer == _SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
