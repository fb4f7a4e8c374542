"""The asyncio client: the same calls as `luvc.Client`, awaited."""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from luvc.answers import Answer, finish
from luvc.client import DEADLINE_GRACE_SECONDS
from luvc.errors import from_rpc
from luvc.requests import MediaLike, Message, Options, conversation, question_about
from luvc.v1 import chat_pb2, encoder_pb2, encoder_pb2_grpc


class AsyncClient:
    """Talks to one encoder service from one event loop. Options as for `luvc.Client`."""

    def __init__(self, endpoint: str = "localhost:50051") -> None:
        self._channel = grpc.aio.insecure_channel(endpoint)
        self._stub = encoder_pb2_grpc.EncoderServiceStub(self._channel)

    async def ask(self, question: str, *media: MediaLike, **options: Any) -> Answer:
        """The whole answer to a question about pictures and clips."""
        return await self.stream(question, *media, **options).answer()

    def stream(self, question: str, *media: MediaLike, **options: Any) -> "AsyncAnswerStream":
        """The answer piece by piece: iterate for text, then await `.answer()`."""
        return self._start(question_about(question, media), Options(**options))

    def chat(self, messages: Sequence[Message], **options: Any) -> "AsyncAnswerStream":
        """The answer to a conversation of several turns, piece by piece."""
        return self._start(conversation(messages), Options(**options))

    def _start(self, messages: list[chat_pb2.ChatMessage], options: Options) -> "AsyncAnswerStream":
        return AsyncAnswerStream(
            self._stub.Generate(
                options.request(messages), timeout=options.timeout + DEADLINE_GRACE_SECONDS
            )
        )

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

    def __init__(self, call: Any) -> None:
        self._call = call
        self._pieces: list[str] = []
        self._last = encoder_pb2.GenerateResponse()

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            async for response in self._call:
                self._last = response
                if response.text:
                    self._pieces.append(response.text)
                    yield response.text
        except grpc.RpcError as error:
            raise from_rpc(error) from None

    async def answer(self) -> Answer:
        """The whole answer; waits for what has not been read yet."""
        async for _ in self:
            pass
        return finish("".join(self._pieces), self._last)

    def cancel(self) -> None:
        self._call.cancel()
