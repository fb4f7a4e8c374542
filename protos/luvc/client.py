"""The blocking client."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from luvc.answers import Answer, finish
from luvc.errors import from_rpc
from luvc.requests import MediaLike, Message, Options, conversation, question_about
from luvc.v1 import chat_pb2, encoder_pb2, encoder_pb2_grpc

# The server sees the deadline as a field and answers with a typed error; the channel's own
# deadline, a little later, only guards against a server that never answers.
DEADLINE_GRACE_SECONDS = 2.0


class Client:
    """Talks to one encoder service. Safe to share between threads; close it when done.

    Keyword options of every question are those of `luvc.requests.Options`: profile, max_tokens,
    temperature, top_p, seed, stop, timeout (seconds). Failures raise `luvc.LuvcError`.
    """

    def __init__(self, endpoint: str = "localhost:50051") -> None:
        self._channel = grpc.insecure_channel(endpoint)
        self._stub = encoder_pb2_grpc.EncoderServiceStub(self._channel)

    def ask(self, question: str, *media: MediaLike, **options: Any) -> Answer:
        """The whole answer to a question about pictures and clips."""
        return self.stream(question, *media, **options).answer

    def stream(self, question: str, *media: MediaLike, **options: Any) -> "AnswerStream":
        """The answer piece by piece: iterate for text, then read `.answer`."""
        return self._start(question_about(question, media), Options(**options))

    def chat(self, messages: Sequence[Message], **options: Any) -> "AnswerStream":
        """The answer to a conversation of several turns, piece by piece."""
        return self._start(conversation(messages), Options(**options))

    def _start(self, messages: list[chat_pb2.ChatMessage], options: Options) -> "AnswerStream":
        return AnswerStream(
            self._stub.Generate(
                options.request(messages), timeout=options.timeout + DEADLINE_GRACE_SECONDS
            )
        )

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AnswerStream:
    """Text as it is generated. Leaving it early? `cancel()` frees the servers at once."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._pieces: list[str] = []
        self._last = encoder_pb2.GenerateResponse()

    def __iter__(self) -> Iterator[str]:
        try:
            for response in self._call:
                self._last = response
                if response.text:
                    self._pieces.append(response.text)
                    yield response.text
        except grpc.RpcError as error:
            raise from_rpc(error) from None

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for what has not been read yet."""
        for _ in self:
            pass
        return finish("".join(self._pieces), self._last)

    def cancel(self) -> None:
        self._call.cancel()
