"""Every error that LUVC raises on purpose.

    LuvcError
    ├── InvalidInput            the caller's fault: what was wrong, what is allowed
    │   ├── InvalidMedia        a picture or clip that cannot be decoded or is over a limit
    │   ├── InvalidSettings     a compression or sampling value out of range
    │   │   └── InvalidProfiles a profile file that cannot be used
    │   └── PromptTooLong       more tokens than the context holds
    ├── IdentityMismatch        visual tokens of another checkpoint or protocol
    ├── Unauthenticated         no API key that is known
    ├── CheckpointError         a model folder that cannot be served
    ├── TokensExpired           media named by digest, whose tokens are no longer kept
    ├── TokensLost              a reference to tokens that cannot be fetched; send them along
    ├── Superseded              a later attempt at the same request took over
    ├── Overloaded              a queue is full; try again later
    ├── DeadlineExceeded        the time allowed is over
    └── Unavailable             the other half cannot be reached

`code` is the name of the canonical gRPC status that the services answer with.
"""

from typing import ClassVar


class ServiceError(Exception):
    """Base of the tree. Its message is meant for the caller.

    Attributes:
        code: name of the canonical gRPC status that the services answer with.
        field: the part of the request that is at fault; empty where none is.
        retry_after: seconds after which trying again makes sense; None where it says nothing.
    """

    code: ClassVar[str] = "INTERNAL"
    field: str = ""
    retry_after: ClassVar[float | None] = None


class InvalidInput(ServiceError):
    """Input that can never succeed. `field` names the part of the request, `allowed` what fits."""

    code = "INVALID_ARGUMENT"

    def __init__(self, field: str, problem: str, allowed: str = "") -> None:
        self.field = field
        self.problem = problem
        self.allowed = allowed
        super().__init__(f"{field}: {problem}" + (f"; allowed: {allowed}" if allowed else ""))


class InvalidMedia(InvalidInput):
    """A picture or clip that cannot be decoded, is of no supported type, or is over a limit."""


class InvalidSettings(InvalidInput):
    """A compression or sampling value out of range."""


class InvalidProfiles(InvalidSettings):
    """A profile file that cannot be read, or holds what is no profile. Names file and field."""

    def __init__(self, path: str, field: str, problem: str, allowed: str = "") -> None:
        self.path = path
        super().__init__(f"{path}: {field}", problem, allowed)


class PromptTooLong(InvalidInput):
    """Prompt and visual tokens exceed the context. Names both lengths."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__("messages", f"the prompt has {length} tokens", f"at most {limit}")


class IdentityMismatch(ServiceError):
    """Visual tokens made by another checkpoint or protocol. Names both identities."""

    code = "FAILED_PRECONDITION"


class Unauthenticated(ServiceError):
    """The call has no API key, or one that is not known."""

    code = "UNAUTHENTICATED"


class CheckpointError(ServiceError):
    """A model name or folder that cannot be loaded: what is missing or does not fit."""

    code = "FAILED_PRECONDITION"


class TokensExpired(ServiceError):
    """Media were named by their digest, and their tokens are not, or no longer, kept."""

    code = "NOT_FOUND"


class TokensLost(ServiceError):
    """Visual tokens that a reference stands for are gone, harmed, or out of reach."""

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
