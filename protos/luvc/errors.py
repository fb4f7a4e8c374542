"""Errors that the client raises: one class for each status that a caller may act on."""

import grpc

from luvc.wire.status import from_metadata


class LuvcError(Exception):
    """A request that failed.

    Attributes:
        code: name of the canonical gRPC status.
        message: what went wrong.
        retry_after: seconds after which the server suggests to try again; None where it does not
            say.
    """

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        self.code = code
        self.message = message
        self.retry_after = retry_after
        super().__init__(f"{code}: {message}")


class InvalidArgument(LuvcError):
    """The request can never succeed as it is. The text names the field and what is allowed."""


class NotFound(LuvcError):
    """Media were named by their digest, and the service does not keep them, or no longer."""


class Unauthenticated(LuvcError):
    """The service does not know the API key, or wants one."""


class FailedPrecondition(LuvcError):
    """The services do not fit together, such as two halves of different checkpoints."""


class DeadlineExceeded(LuvcError):
    """The time allowed is over."""


class ResourceExhausted(LuvcError):
    """The service is full; try again a little later."""


class Unavailable(LuvcError):
    """The service, or the other half behind it, cannot be reached."""


_BY_CODE: dict[grpc.StatusCode, type[LuvcError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
}


def from_rpc(error: grpc.RpcError) -> LuvcError:
    """Return the client's error for a failed call of the blocking or the asyncio API."""
    code = error.code()
    details = from_metadata(error.trailing_metadata())
    retry_after = details.retry_after if details else None
    return _BY_CODE.get(code, LuvcError)(code.name, error.details() or "", retry_after)
