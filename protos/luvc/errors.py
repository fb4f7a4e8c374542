"""What a call can end in, other than an answer. One class for each status a caller may act on."""

import grpc


class LuvcError(Exception):
    """A request that failed. `code` is the canonical gRPC status name."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class InvalidArgument(LuvcError):
    """The request can never succeed as it is. The text names the field and what is allowed."""


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
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
}


def from_rpc(error: grpc.RpcError) -> LuvcError:
    """The client's error for a failed call, from either the blocking or the asyncio API."""
    code = error.code()
    details = error.details() or ""
    return _BY_CODE.get(code, LuvcError)(code.name, details)
