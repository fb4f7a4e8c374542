"""The asyncio client: the calls of `luvc.Client` for event loops."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self

import grpc

from luvc._base_client import BaseAnswerStream, BaseClient
from luvc._retry import RetryState
from luvc.access import Tls
from luvc.answers import Answer
from luvc.errors import LuvcError, from_rpc
from luvc.requests import MediaLike, Options, question_about


class AsyncAnswerStream(BaseAnswerStream):
    """Text as it is generated. To leave early, call `cancel()`, which frees the servers at once."""

    def __init__(self, generate: Callable[..., Any], retry_state: RetryState) -> None:
        self._cancelled: asyncio.Event = asyncio.Event()
        super().__init__(generate, retry_state)

    async def __aiter__(self) -> AsyncIterator[str]:
        while not self._done:
            try:
                async for response in self._call:
                    if text := self._receive(response):
                        yield text
                self._complete()
            except asyncio.CancelledError:
                # `cancel` ends this call, and not the task that reads it.
                task = asyncio.current_task()
                if not self._cancelled.is_set() or (task and task.cancelling()):
                    raise
                self._done = True
                raise LuvcError("CANCELLED", "the caller has cancelled") from None
            except grpc.RpcError as failed:
                await self._retry_after(from_rpc(failed))

    async def answer(self) -> Answer:
        """Return the whole answer; waits for what has not been read yet."""
        async for _ in self:
            pass
        return self._whole_answer()

    async def _retry_after(self, error: LuvcError) -> None:
        """Send the request once more, or raise the error."""
        pause = self._pause_after(error)
        if pause is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cancelled.wait(), pause)
        if pause is None or self._cancelled.is_set():
            self._fail(error)
            raise error from None
        self._send()


class AsyncClient(BaseClient[AsyncAnswerStream]):
    """Talks to one encoder service from one event loop. Options as for `luvc.Client`."""

    _stream_class = AsyncAnswerStream

    def __init__(
        self, endpoint: str = "localhost:50051", *, api_key: str = "", tls: Tls | None = None
    ) -> None:
        super().__init__(grpc.aio, endpoint, api_key, tls)

    async def ask(self, question: str, *media: MediaLike, **options: Any) -> Answer:
        """Ask about images and videos, and wait for the whole answer, which comes in one piece.

        Args:
            question: what to ask.
            media: paths or bytes of image and video files, or PIL images.
            options: fields of `luvc.requests.Options`.

        Raises:
            LuvcError: when there is no answer.
            OSError: for a file that cannot be read.
        """
        messages = question_about(question, media)
        return await self._start(messages, Options(**options), whole=True).answer()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
