"""Calls whose bytes are no message of their kind: refused as any other bad request.

gRPC by itself answers UNKNOWN, and writes a traceback into the log.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from encoder_service.errors import status_of
from luvc_core.errors import InvalidInput

_OURS = "/luvc.v1.EncoderService/"


class _Unreadable:
    """In place of a message."""


class ReadableRequestInterceptor(grpc.aio.ServerInterceptor):
    """Of the calls of EncoderService, all of which are coroutines that take one message.

    refused: told the code of each that is refused.
    """

    def __init__(self, refused: Callable[[str], None]) -> None:
        self._refused = refused

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        handler: Any = await continuation(details)
        if handler is None or not details.method.startswith(_OURS):
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
                self._refused(status.code.name)
                await context.abort(status.code, status.message, status.trailing_metadata)
            return await answer(request, context)

        return handler._replace(request_deserializer=try_to_read, **{kind: answer_or_refuse})
