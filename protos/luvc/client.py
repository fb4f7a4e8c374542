"""The blocking client."""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc

from luvc._retry import KeptMedia, RetryState
from luvc.access import CHANNEL_OPTIONS, Tls, metadata_of
from luvc.answers import Answer, finish
from luvc.errors import LuvcError, from_rpc
from luvc.requests import MediaLike, Message, Options, conversation, question_about
from luvc.v1 import chat_pb2, encoder_pb2, encoder_pb2_grpc

# The server sees the deadline as a field and answers with a typed error; the channel's own
# deadline, a little later, only guards against a server that never answers.
DEADLINE_GRACE_SECONDS = 2.0


class Client:
    """Talks to an encoder service, or in turn to several behind one name (`dns:///NAME:PORT`). Safe
    to share between threads; close it when done.

    Keyword options of every question are those of `luvc.requests.Options`: profile, max_tokens,
    temperature, top_p, seed, stop, timeout (seconds), retries, degradation. Failures raise
    `luvc.LuvcError`. Media that the service keeps are not sent twice. An API key is only as safe as
    the connection: send it with TLS.
    """

    def __init__(
        self, endpoint: str = "localhost:50051", *, api_key: str = "", tls: Tls | None = None
    ) -> None:
        self._channel = (
            grpc.secure_channel(endpoint, tls.credentials(), options=CHANNEL_OPTIONS)
            if tls
            else grpc.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        )
        self._metadata = metadata_of(api_key)
        self._stub = encoder_pb2_grpc.EncoderServiceStub(self._channel)
        self._kept = KeptMedia()

    def ask(self, question: str, *media: MediaLike, **options: Any) -> Answer:
        """The whole answer to a question about pictures and clips, sent in one piece."""
        messages = question_about(question, media)
        return self._start(messages, Options(**options), whole=True).answer

    def stream(self, question: str, *media: MediaLike, **options: Any) -> "AnswerStream":
        """The answer piece by piece: iterate for text, then read `.answer`."""
        return self._start(question_about(question, media), Options(**options))

    def chat(self, messages: Sequence[Message], **options: Any) -> "AnswerStream":
        """The answer to a conversation of several turns, piece by piece."""
        return self._start(conversation(messages), Options(**options))

    def _start(
        self, messages: list[chat_pb2.ChatMessage], options: Options, whole: bool = False
    ) -> "AnswerStream":
        attempts = RetryState(messages, options, self._kept, whole)
        metadata = (*self._metadata, *attempts.metadata)
        generate = partial(self._stub.Generate, metadata=metadata)
        return AnswerStream(generate, attempts)

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

    def __init__(self, generate: Callable[..., Any], attempts: RetryState) -> None:
        self._generate = generate
        self._attempts = attempts
        self._pieces: list[str] = []
        self._last = encoder_pb2.GenerateResponse()
        self._cancelled = threading.Event()
        self._done = False
        self._send()

    def __iter__(self) -> Iterator[str]:
        while not self._done:
            try:
                for response in self._call:
                    self._last = response
                    if response.text:
                        self._pieces.append(response.text)
                        yield response.text
                self._done = True
                self._attempts.answered(self._last)
            except grpc.RpcError as failed:
                self._again_after(from_rpc(failed))

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for what has not been read yet."""
        for _ in self:
            pass
        return finish("".join(self._pieces), self._last)

    def cancel(self) -> None:
        self._cancelled.set()
        self._call.cancel()
        self._attempts.failed(LuvcError("CANCELLED", "the caller left"))

    def _send(self) -> None:
        timeout = self._attempts.left + DEADLINE_GRACE_SECONDS
        self._call = self._generate(self._attempts.request(), timeout=timeout)

    def _again_after(self, error: LuvcError) -> None:
        """Send once more, or raise the error."""
        shown = self._pieces and not self._attempts.whole
        pause = None if shown else self._attempts.pause_after(error)
        if pause is None or self._cancelled.wait(pause):
            self._done = True
            self._attempts.failed(error)
            raise error from None
        self._pieces.clear()
        self._send()
