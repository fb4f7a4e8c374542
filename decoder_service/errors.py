"""The table from exceptions to the status that callers of the decoder get."""

import logging
from typing import TYPE_CHECKING

import grpc
from luvc.wire.status import Status, internal_status, status_from

from luvc_core.errors import ServiceError
from luvc_core.runtime.log_format import log_unexpected

if TYPE_CHECKING:
    from ray.serve.grpc_util import RayServegRPCContext

log = logging.getLogger(__name__)


def refuse(
    context: "RayServegRPCContext", error: BaseException, request_id: str
) -> grpc.StatusCode:
    """Make a call of Ray Serve fail with a typed status.

    Raising in the handler instead would lose the details, and send Ray's traceback to the caller.

    Args:
        context: Ray's context of the call. The status travels with the next message, so that the
            handler has to send one more.
        error: what the call failed by.
        request_id: the id under which the request is logged.

    Returns:
        The code of the status.
    """
    status = status_of(error, request_id)
    context.set_code(status.code)
    context.set_details(status.message)
    context.set_trailing_metadata(list(status.trailing_metadata))
    return status.code


def status_of(error: BaseException, request_id: str) -> Status:
    """Return the status for an exception. An unexpected one is logged, and not shown to callers."""
    if isinstance(error, ServiceError):
        return status_from(error, request_id)
    log_unexpected(log, request_id, error)
    message = f"internal error in the decoder; its log has more under request {request_id}"
    return internal_status(message, request_id)
