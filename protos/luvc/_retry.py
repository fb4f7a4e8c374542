"""What the clients do about a failure before anybody has seen text: send again, or give up.

Nothing is lost by sending a question again: the server ends an earlier attempt with the same key.
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

_MOST_KEPT = 4096
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class KeptMedia:
    """Which media a server said it keeps, by SHA-256. Safe to share between threads."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, digests: Sequence[bytes]) -> None:
        """They need not be sent again."""
        with self._lock:
            for digest in digests:
                self._digests[digest] = None
                self._digests.move_to_end(digest)
            while len(self._digests) > _MOST_KEPT:
                self._digests.popitem(last=False)

    def forget(self, digests: Sequence[bytes]) -> None:
        """They have to be sent again."""
        with self._lock:
            for digest in digests:
                self._digests.pop(digest, None)

    def all_known(self, digests: Sequence[bytes]) -> bool:
        with self._lock:
            return bool(digests) and all(digest in self._digests for digest in digests)


class RetryState:
    """The attempts at one question: what to send, within which time, and whether once more.

    whole: nobody reads the text before its end, so that it comes in one piece, and may begin anew
    after a failure.
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
        media = [p.media for m in messages for p in m.parts if p.WhichOneof("part") == "media"]
        self._digests = [hashlib.sha256(one.data).digest() for one in media]
        self._by_digest = kept.all_known(self._digests)
        self._span = traces.span("luvc.v1.EncoderService/Generate", "client")

    @property
    def left(self) -> float:
        """Seconds for what is still to come."""
        return max(0.0, self._end - time.monotonic())

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each attempt says about the trace that it belongs to."""
        return self._span.metadata

    def request(self) -> encoder_pb2.GenerateRequest:
        """What to send now."""
        messages = self._without_data() if self._by_digest else list(self._messages)
        return self._options.request(messages, self.left, self._key, self.whole)

    def pause_after(self, error: LuvcError) -> float | None:
        """Seconds to wait before sending again; None to give up. Not once text was seen."""
        self._span.event(error.code)
        if self._by_digest and isinstance(error, NotFound):
            self._kept.forget(self._digests)
            self._by_digest = False
            return 0.0
        if not isinstance(error, Unavailable | ResourceExhausted):
            return None
        if self._failures >= self._options.retries:
            return None
        pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE) * random.uniform(0.5, 1.5)
        self._failures += 1
        pause = max(pause, error.retry_after or 0.0)
        return pause if pause < self.left else None

    def answered(self, last: encoder_pb2.GenerateResponse) -> None:
        """All is there. Remembers what the server keeps."""
        self._span.end_call("OK")
        if last.usage.media_kept:
            self._kept.learn(self._digests)

    def failed(self, error: LuvcError) -> None:
        """There is no answer, and nothing more will be sent."""
        self._span.end_call(error.code, error.message)

    def _without_data(self) -> list[chat_pb2.ChatMessage]:
        digests = iter(self._digests)
        short = []
        for message in self._messages:
            copy = chat_pb2.ChatMessage(role=message.role)
            for part in message.parts:
                if part.WhichOneof("part") == "media":
                    media = chat_pb2.Media(name=part.media.name, digest_sha256=next(digests))
                    copy.parts.append(chat_pb2.ContentPart(media=media))
                else:
                    copy.parts.append(part)
            short.append(copy)
        return short
