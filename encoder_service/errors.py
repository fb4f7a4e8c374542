"""The one table from exceptions to what a caller is told."""

import logging

import grpc
from luvc.wire.status import Details, Status, Violation, reason_of, shorten

from luvc_core.errors import InvalidInput, Overloaded, ServiceError
from luvc_core.runtime.log_format import of_request

log = logging.getLogger(__name__)


class Refused(Exception):
    """The decoder's own typed answer, passed on as it is."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.message)


def status_of(error: BaseException, request_id: str) -> Status:
    """What to answer. Unexpected errors are logged here and only their request id is told."""
    if isinstance(error, Refused):
        return error.status
    if not isinstance(error, ServiceError):
        log.error(
            "request %s failed unexpectedly",
            request_id,
            exc_info=error,
            extra=of_request(request_id),
        )
        return Status(
            grpc.StatusCode.INTERNAL,
            f"internal error; the server's log has more under request {request_id}",
            Details("INTERNAL", request_id=request_id),
        )
    message = shorten(str(error))
    violations = (Violation(error.field, message),) if isinstance(error, InvalidInput) else ()
    retry_after = error.retry_after if isinstance(error, Overloaded) else None
    details = Details(reason_of(error), violations, request_id, retry_after)
    return Status(grpc.StatusCode[error.code], message, details)
