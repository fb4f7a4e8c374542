"""Interceptors that refuse a call before it reaches the servicer: bad API key, bad message."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from encoder_service.errors import status_of
from encoder_service.tenants import Tenants
from luvc_core.errors import InvalidInput, Unauthenticated

_ENCODER_SERVICE = "/luvc.v1.EncoderService/"
# Open to everybody: load balancers ask for health, and decoders fetch by a handle of 256 random
# bits that no one else knows.
_OPEN_METHODS = ("/grpc.health.v1.Health/", "/luvc.v1.EncoderService/FetchTokens")


class ApiKeyInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without a known API key, before their message is parsed."""

    def __init__(self, tenants: Tenants, count_refused: Callable[[str], None]) -> None:
        """Set up the check.

        tenants: know the keys. count_refused: called with the code of each call that is refused.
        """
        self._tenants = tenants
        self._count_refused = count_refused

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        """Continue where the API key is known, or none is needed."""
        if not details.method.startswith(_OPEN_METHODS):
            try:
                self._tenants.of(details.invocation_metadata)
            except Unauthenticated as error:
                self._count_refused(error.code)
                return _refusing(error)
        return await continuation(details)


def _refusing(error: Unauthenticated) -> Any:
    status = status_of(error, "")

    async def refuse(request: Any, context: Any) -> None:
        await context.abort(status.code, status.message, status.trailing_metadata)

    return grpc.unary_unary_rpc_method_handler(refuse)


class _Unreadable:
    """Stands for a message whose bytes cannot be parsed."""


class ReadableRequestInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls of EncoderService whose bytes are no message of their kind.

    gRPC by itself answers UNKNOWN, and writes a traceback into the log. All calls of the service
    are coroutines that take one message.
    """

    def __init__(self, count_refused: Callable[[str], None]) -> None:
        """Set up the check. count_refused: called with the code of each call that is refused."""
        self._count_refused = count_refused

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        """Wrap the handler, so that it refuses what its deserialiser cannot parse."""
        handler: Any = await continuation(details)
        if handler is None or not details.method.startswith(_ENCODER_SERVICE):
            return handler
        kind = "unary_stream" if handler.response_streaming else "unary_unary"
        answer, read = getattr(handler, kind), handler.request_deserializer

        def try_to_read(data: bytes) -> Any:
            try:
                return read(data)
            except DecodeError:
                return _Unreadable()

        async def answer_or_refuse(request: Any, context: Any) -> Any:
            if isinstance(request, _Unreadable):
                status = status_of(InvalidInput("request", "its bytes are no such message"), "")
                self._count_refused(status.code.name)
                await context.abort(status.code, status.message, status.trailing_metadata)
            return await answer(request, context)

        return handler._replace(request_deserializer=try_to_read, **{kind: answer_or_refuse})
