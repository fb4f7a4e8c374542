"""The asyncio client: the same calls as `luvc.Client`, awaited."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc

from luvc._retry import KeptMedia, RetryState
from luvc.access import CHANNEL_OPTIONS, Tls, metadata_of
from luvc.answers import Answer, finish
from luvc.client import DEADLINE_GRACE_SECONDS
from luvc.errors import LuvcError, from_rpc
from luvc.requests import MediaLike, Message, Options, conversation, question_about
from luvc.v1 import chat_pb2, encoder_pb2, encoder_pb2_grpc


class AsyncClient:
    """Talks to one encoder service from one event loop. Options as for `luvc.Client`."""

    def __init__(
        self, endpoint: str = "localhost:50051", *, api_key: str = "", tls: Tls | None = None
    ) -> None:
        self._channel = (
            grpc.aio.secure_channel(endpoint, tls.credentials(), options=CHANNEL_OPTIONS)
            if tls
            else grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        )
        self._metadata = metadata_of(api_key)
        self._stub = encoder_pb2_grpc.EncoderServiceStub(self._channel)
        self._kept = KeptMedia()

    async def ask(self, question: str, *media: MediaLike, **options: Any) -> Answer:
        """The whole answer to a question about pictures and clips, sent in one piece."""
        messages = question_about(question, media)
        return await self._start(messages, Options(**options), whole=True).answer()

    def stream(self, question: str, *media: MediaLike, **options: Any) -> "AsyncAnswerStream":
        """The answer piece by piece: iterate for text, then await `.answer()`."""
        return self._start(question_about(question, media), Options(**options))

    def chat(self, messages: Sequence[Message], **options: Any) -> "AsyncAnswerStream":
        """The answer to a conversation of several turns, piece by piece."""
        return self._start(conversation(messages), Options(**options))

    def _start(
        self, messages: list[chat_pb2.ChatMessage], options: Options, whole: bool = False
    ) -> "AsyncAnswerStream":
        attempts = RetryState(messages, options, self._kept, whole)
        metadata = (*self._metadata, *attempts.metadata)
        generate = partial(self._stub.Generate, metadata=metadata)
        return AsyncAnswerStream(generate, attempts)

    async def close(self) -> None:
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


class AsyncAnswerStream:
    """Text as it is generated. Leaving it early? `cancel()` frees the servers at once."""

    def __init__(self, generate: Callable[..., Any], attempts: RetryState) -> None:
        self._generate = generate
        self._attempts = attempts
        self._pieces: list[str] = []
        self._last = encoder_pb2.GenerateResponse()
        self._cancelled = asyncio.Event()
        self._done = False
        self._send()

    async def __aiter__(self) -> AsyncIterator[str]:
        while not self._done:
            try:
                async for response in self._call:
                    self._last = response
                    if response.text:
                        self._pieces.append(response.text)
                        yield response.text
                self._done = True
                self._attempts.answered(self._last)
            except asyncio.CancelledError:
                # `cancel` ends this call, and not the task that reads it.
                task = asyncio.current_task()
                if not self._cancelled.is_set() or (task and task.cancelling()):
                    raise
                self._done = True
                raise LuvcError("CANCELLED", "the caller has cancelled") from None
            except grpc.RpcError as failed:
                await self._again_after(from_rpc(failed))

    async def answer(self) -> Answer:
        """The whole answer; waits for what has not been read yet."""
        async for _ in self:
            pass
        return finish("".join(self._pieces), self._last)

    def cancel(self) -> None:
        self._cancelled.set()
        self._call.cancel()
        self._attempts.failed(LuvcError("CANCELLED", "the caller left"))

    def _send(self) -> None:
        timeout = self._attempts.left + DEADLINE_GRACE_SECONDS
        self._call = self._generate(self._attempts.request(), timeout=timeout)

    async def _again_after(self, error: LuvcError) -> None:
        """Send once more, or raise the error."""
        shown = self._pieces and not self._attempts.whole
        pause = None if shown else self._attempts.pause_after(error)
        if pause is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cancelled.wait(), pause)
        if pause is None or self._cancelled.is_set():
            self._done = True
            self._attempts.failed(error)
            raise error from None
        self._pieces.clear()
        self._send()
