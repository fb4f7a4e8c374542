"""The errors that LUVC raises on purpose.

    ServiceError
    ├── InvalidInput            a request that can never succeed
    │   ├── InvalidMedia        an image or video that cannot be decoded or is over a limit
    │   ├── InvalidSettings     a compression or sampling value out of range
    │   │   └── InvalidProfiles a profile file that cannot be used
    │   └── PromptTooLong       more tokens than the context holds
    ├── IdentityMismatch        visual tokens of another checkpoint or protocol
    ├── Unauthenticated         no API key, or an unknown one
    ├── CheckpointError         a model folder that cannot be served
    ├── TokensExpired           media named by digest, whose tokens are no longer kept
    ├── TokensLost              tokens behind a reference that cannot be fetched
    ├── Superseded              a later attempt at the same request took over
    ├── Overloaded              a queue is full; try again later
    ├── DeadlineExceeded        the time allowed is over
    └── Unavailable             the other half cannot be reached

`code` is the name of the canonical gRPC status that the services answer with.
"""

from typing import ClassVar


class ServiceError(Exception):
    """Base of all errors. Its message is meant for the caller.

    Attributes:
        code: name of the canonical gRPC status that the services answer with.
        field: the part of the request that is at fault; empty where none is.
        retry_after: seconds after which trying again makes sense; None where that is not known.
    """

    code: ClassVar[str] = "INTERNAL"
    field: str = ""
    retry_after: ClassVar[float | None] = None


class InvalidInput(ServiceError):
    """A request that can never succeed.

    Attributes:
        field: the part of the request that is wrong.
        problem: what is wrong with it.
        allowed: what is allowed instead; may be empty.
    """

    code = "INVALID_ARGUMENT"

    def __init__(self, field: str, problem: str, allowed: str = "") -> None:
        self.field = field
        self.problem = problem
        self.allowed = allowed
        super().__init__(f"{field}: {problem}" + (f"; allowed: {allowed}" if allowed else ""))


class InvalidMedia(InvalidInput):
    """An image or video that cannot be decoded, is of no supported type, or is over a limit."""


class InvalidSettings(InvalidInput):
    """A compression or sampling value out of range."""


class InvalidProfiles(InvalidSettings):
    """A profile file that cannot be read or used. Names file and field."""

    def __init__(self, path: str, field: str, problem: str, allowed: str = "") -> None:
        self.path = path
        super().__init__(f"{path}: {field}", problem, allowed)


class PromptTooLong(InvalidInput):
    """A prompt that is longer than the context, visual tokens included. Names both lengths."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__("messages", f"the prompt has {length} tokens", f"at most {limit}")


class IdentityMismatch(ServiceError):
    """Visual tokens made by another checkpoint or protocol. Names both identities."""

    code = "FAILED_PRECONDITION"


class Unauthenticated(ServiceError):
    """A call without an API key, or with an unknown one."""

    code = "UNAUTHENTICATED"


class CheckpointError(ServiceError):
    """A model name or folder that cannot be loaded. Names what is missing or does not fit."""

    code = "FAILED_PRECONDITION"


class TokensExpired(ServiceError):
    """Media named by their digest, whose tokens are not, or no longer, stored."""

    code = "NOT_FOUND"


class TokensLost(ServiceError):
    """Visual tokens behind a reference are gone, damaged, or out of reach."""

    code = "UNAVAILABLE"


class Superseded(ServiceError):
    """A later attempt at the same request took over."""

    code = "ABORTED"


class Overloaded(ServiceError):
    """A bounded queue is full."""

    code = "RESOURCE_EXHAUSTED"
    retry_after: ClassVar[float] = 0.5


class DeadlineExceeded(ServiceError):
    """The time allowed for the request is over."""

    code = "DEADLINE_EXCEEDED"


class Unavailable(ServiceError):
    """The other half cannot be reached."""

    code = "UNAVAILABLE"
