"""Retries: when the clients send a request again, and what they send.

Nothing is lost by sending a request again: the server ends an earlier attempt with the same key.
"""

import hashlib
import random
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence

from luvc.errors import LuvcError, NotFound, ResourceExhausted, Unavailable
from luvc.requests import Options
from luvc.v1 import chat_pb2, encoder_pb2
from luvc.wire import traces

_MAX_DIGESTS = 4096
_FIRST_PAUSE_SECONDS = 0.1
_MAX_PAUSE_SECONDS = 5.0


class KeptMedia:
    """The media that a server said it keeps, by SHA-256. Safe to share between threads."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, digests: Sequence[bytes]) -> None:
        """Remember media that need not be sent again."""
        with self._lock:
            for digest in digests:
                self._digests[digest] = None
                self._digests.move_to_end(digest)
            while len(self._digests) > _MAX_DIGESTS:
                self._digests.popitem(last=False)

    def forget(self, digests: Sequence[bytes]) -> None:
        """Forget media that have to be sent again."""
        with self._lock:
            for digest in digests:
                self._digests.pop(digest, None)

    def all_known(self, digests: Sequence[bytes]) -> bool:
        """Return whether the server keeps all of them; False for none."""
        with self._lock:
            return bool(digests) and all(digest in self._digests for digest in digests)


class RetryState:
    """The attempts at one request: what to send, in which time, and whether once more.

    Attributes:
        whole: whether the answer comes in one piece. As nobody reads it before its end, it may
            begin anew after a failure.
    """

    def __init__(
        self,
        messages: Sequence[chat_pb2.ChatMessage],
        options: Options,
        kept: KeptMedia,
        whole: bool = False,
    ) -> None:
        self.whole = whole
        self._messages = messages
        self._options = options
        self._kept = kept
        self._end = time.monotonic() + options.timeout
        self._key = uuid.uuid4().hex
        self._failures = 0
        parts = (part for message in messages for part in message.parts)
        media = [part.media for part in parts if part.WhichOneof("part") == "media"]
        self._digests = [hashlib.sha256(one.data).digest() for one in media]
        self._by_digest = kept.all_known(self._digests)
        self._span = traces.span("luvc.v1.EncoderService/Generate", "client")

    @property
    def seconds_left(self) -> float:
        """Seconds that are left of the timeout."""
        return max(0.0, self._end - time.monotonic())

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The trace that each attempt belongs to, as metadata of its call."""
        return self._span.metadata

    def request(self) -> encoder_pb2.GenerateRequest:
        """Build what to send now."""
        messages = self._without_data() if self._by_digest else list(self._messages)
        return self._options.request(messages, self.seconds_left, self._key, self.whole)

    def pause_after(self, error: LuvcError) -> float | None:
        """Return the seconds to wait before sending again; None to give up.

        Not to be called once the caller has seen text.
        """
        self._span.add_event(error.code)
        if self._by_digest and isinstance(error, NotFound):
            self._kept.forget(self._digests)
            self._by_digest = False
            return 0.0
        if not isinstance(error, Unavailable | ResourceExhausted):
            return None
        if self._failures >= self._options.retries:
            return None
        pause = min(_FIRST_PAUSE_SECONDS * 2**self._failures, _MAX_PAUSE_SECONDS) * random.uniform(
            0.5, 1.5
        )
        self._failures += 1
        pause = max(pause, error.retry_after or 0.0)
        return pause if pause < self.seconds_left else None

    def answered(self, last: encoder_pb2.GenerateResponse) -> None:
        """Note that the answer is complete, and which media the server keeps."""
        self._span.end_call("OK")
        if last.usage.media_kept:
            self._kept.learn(self._digests)

    def failed(self, error: LuvcError) -> None:
        """Note that nothing more will be sent, and there is no answer."""
        self._span.end_call(error.code, error.message)

    def _without_data(self) -> list[chat_pb2.ChatMessage]:
        """Copy the messages with digests in place of the bytes of media."""
        digests = iter(self._digests)
        copies = []
        for message in self._messages:
            copy = chat_pb2.ChatMessage(role=message.role)
            for part in message.parts:
                if part.WhichOneof("part") == "media":
                    media = chat_pb2.Media(name=part.media.name, digest_sha256=next(digests))
                    copy.parts.append(chat_pb2.ContentPart(media=media))
                else:
                    copy.parts.append(part)
            copies.append(copy)
        return copies
