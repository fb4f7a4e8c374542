"""The table from exceptions to the status that callers of the encoder get."""

import logging

from luvc.wire.status import Status, internal_status, status_from

from luvc_core.errors import ServiceError
from luvc_core.runtime.log_format import log_unexpected

log = logging.getLogger(__name__)


class DecoderRefused(Exception):
    """The decoder refused a request; its typed status is passed on as it is."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.message)


def status_of(error: BaseException, request_id: str) -> Status:
    """Return the status for an exception. An unexpected one is logged, and not shown to callers."""
    if isinstance(error, DecoderRefused):
        return error.status
    if isinstance(error, ServiceError):
        return status_from(error, request_id)
    log_unexpected(log, request_id, error)
    message = f"internal error; the server's log has more under request {request_id}"
    return internal_status(message, request_id)
