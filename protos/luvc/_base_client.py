"""Base of the blocking and the asyncio client: requests, and the state of an answer."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from luvc._retry import KeptMedia, RetryState
from luvc.access import CHANNEL_OPTIONS, Tls, metadata_of
from luvc.answers import Answer, finish
from luvc.errors import LuvcError
from luvc.requests import MediaLike, Message, Options, conversation, question_about
from luvc.v1 import chat_pb2, encoder_pb2, encoder_pb2_grpc

# The server sees the deadline as a field and answers with a typed error. The channel's own
# deadline, a little later, only guards against a server that never answers.
DEADLINE_GRACE_SECONDS = 2.0


class BaseAnswerStream:
    """The state of one answer: the text so far, and the attempts at its request.

    Subclasses read the messages of `_call`, and wait between attempts in their own way.
    """

    _cancelled: threading.Event | asyncio.Event

    def __init__(self, generate: Callable[..., Any], retry_state: RetryState) -> None:
        self._generate = generate
        self._retry_state = retry_state
        self._texts: list[str] = []
        self._last = encoder_pb2.GenerateResponse()
        self._done = False
        self._send()

    def cancel(self) -> None:
        """End the call, which frees the servers at once."""
        self._cancelled.set()
        self._call.cancel()
        self._retry_state.failed(LuvcError("CANCELLED", "the caller left"))

    def _send(self) -> None:
        """Start an attempt, without the text of earlier ones."""
        self._texts.clear()
        timeout = self._retry_state.seconds_left + DEADLINE_GRACE_SECONDS
        self._call = self._generate(self._retry_state.request(), timeout=timeout)

    def _take(self, response: encoder_pb2.GenerateResponse) -> str:
        """Keep a message of the stream, and return its text, which may be empty."""
        self._last = response
        if response.text:
            self._texts.append(response.text)
        return response.text

    def _complete(self) -> None:
        self._done = True
        self._retry_state.answered(self._last)

    def _pause_after(self, error: LuvcError) -> float | None:
        """Return the seconds to wait before another attempt; None to give up.

        No attempt is made once the caller has seen text, as another answer may differ.
        """
        seen = self._texts and not self._retry_state.whole
        return None if seen else self._retry_state.pause_after(error)

    def _fail(self, error: LuvcError) -> None:
        self._done = True
        self._retry_state.failed(error)

    def _whole_answer(self) -> Answer:
        return finish("".join(self._texts), self._last)


StreamT = TypeVar("StreamT", bound=BaseAnswerStream)


class BaseClient(Generic[StreamT]):
    """Builds requests and starts answers. Subclasses open the channel and close it."""

    _stream_class: type[StreamT]

    def __init__(self, grpc_api: Any, endpoint: str, api_key: str, tls: Tls | None) -> None:
        # `grpc` and `grpc.aio` have functions of the same names.
        self._channel = (
            grpc_api.secure_channel(endpoint, tls.credentials(), options=CHANNEL_OPTIONS)
            if tls
            else grpc_api.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        )
        self._metadata = metadata_of(api_key)
        self._stub = encoder_pb2_grpc.EncoderServiceStub(self._channel)
        self._kept = KeptMedia()

    def stream(self, question: str, *media: MediaLike, **options: Any) -> StreamT:
        """Ask about images and videos, and get the answer piece by piece.

        Args:
            question: what to ask.
            media: paths or bytes of image and video files, or PIL images.
            options: fields of `luvc.requests.Options`.

        Returns:
            A stream to iterate over for text. Its `answer` is the whole answer.
        """
        return self._start(question_about(question, media), Options(**options))

    def chat(self, messages: Sequence[Message], **options: Any) -> StreamT:
        """Continue a conversation of several turns, and get the answer piece by piece.

        messages: the turns so far. options: fields of `luvc.requests.Options`.
        """
        return self._start(conversation(messages), Options(**options))

    def _start(
        self, messages: list[chat_pb2.ChatMessage], options: Options, whole: bool = False
    ) -> StreamT:
        retry_state = RetryState(messages, options, self._kept, whole)
        metadata = (*self._metadata, *retry_state.metadata)
        generate = partial(self._stub.Generate, metadata=metadata)
        return self._stream_class(generate, retry_state)
