"""The blocking client."""

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from luvc._base_client import BaseAnswerStream, BaseClient
from luvc._retry import RetryState
from luvc.access import Tls
from luvc.answers import Answer
from luvc.errors import LuvcError, from_rpc
from luvc.requests import MediaLike, Options, question_about


class AnswerStream(BaseAnswerStream):
    """Text as it is generated. To leave early, call `cancel()`, which frees the servers at once."""

    def __init__(self, generate: Callable[..., Any], retry_state: RetryState) -> None:
        self._cancelled: threading.Event = threading.Event()
        super().__init__(generate, retry_state)

    def __iter__(self) -> Iterator[str]:
        while not self._done:
            try:
                for response in self._call:
                    if text := self._take(response):
                        yield text
                self._complete()
            except grpc.RpcError as failed:
                self._retry_after(from_rpc(failed))

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for what has not been read yet."""
        for _ in self:
            pass
        return self._whole_answer()

    def _retry_after(self, error: LuvcError) -> None:
        """Send the request once more, or raise the error."""
        pause = self._pause_after(error)
        if pause is None or self._cancelled.wait(pause):
            self._fail(error)
            raise error from None
        self._send()


class Client(BaseClient[AnswerStream]):
    """Talks to an encoder service, or in turn to several behind one name (`dns:///NAME:PORT`).

    Safe to share between threads; close it when done.

    Keyword options of every question are those of `luvc.requests.Options`: profile, max_tokens,
    temperature, top_p, seed, stop, timeout (seconds), retries, degradation. Failures raise
    `luvc.LuvcError`. Media that the service keeps are not sent twice. An API key is only as safe as
    the connection: send it with TLS.
    """

    _stream_class = AnswerStream

    def __init__(
        self, endpoint: str = "localhost:50051", *, api_key: str = "", tls: Tls | None = None
    ) -> None:
        super().__init__(grpc, endpoint, api_key, tls)

    def ask(self, question: str, *media: MediaLike, **options: Any) -> Answer:
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
        return self._start(messages, Options(**options), whole=True).answer

    def close(self) -> None:
        """Close the connection."""
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
