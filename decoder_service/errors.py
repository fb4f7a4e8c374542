"""The one table from exceptions to what a caller is told, by way of Ray's gRPC context."""

import logging
from typing import TYPE_CHECKING

import grpc
from luvc.wire.status import Details, Status, Violation, reason_of, shorten

from luvc_core.errors import InvalidInput, Overloaded, ServiceError
from luvc_core.runtime.log_format import of_request

if TYPE_CHECKING:
    from ray.serve.grpc_util import RayServegRPCContext

log = logging.getLogger(__name__)


def refuse(
    context: "RayServegRPCContext", error: BaseException, request_id: str
) -> grpc.StatusCode:
    """Make the call fail, with the code that is returned. The handler must then send one more
    message, with which the code travels.

    Raising instead would lose the details and send Ray's traceback to the caller.
    """
    status = status_of(error, request_id)
    context.set_code(status.code)
    context.set_details(status.message)
    context.set_trailing_metadata(list(status.trailing_metadata))
    return status.code


def status_of(error: BaseException, request_id: str) -> Status:
    """What to answer. Unexpected errors are logged here and only their request id is told."""
    if not isinstance(error, ServiceError):
        log.error(
            "request %s failed unexpectedly",
            request_id,
            exc_info=error,
            extra=of_request(request_id),
        )
        return Status(
            grpc.StatusCode.INTERNAL,
            f"internal error in the decoder; its log has more under request {request_id}",
            Details("INTERNAL", request_id=request_id),
        )
    message = shorten(str(error))
    violations = (Violation(error.field, message),) if isinstance(error, InvalidInput) else ()
    retry_after = error.retry_after if isinstance(error, Overloaded) else None
    details = Details(reason_of(error), violations, request_id, retry_after)
    return Status(grpc.StatusCode[error.code], message, details)
