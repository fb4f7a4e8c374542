"""Requests built from questions, files, bytes and PIL images."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from google.protobuf import duration_pb2
from PIL import Image

from luvc.v1 import chat_pb2, compression_pb2, encoder_pb2, tokens_pb2

MediaLike: TypeAlias = str | os.PathLike[str] | bytes | Image.Image
"""A path or the bytes of an image or video file, or a PIL image."""

_ROLES = {
    "system": chat_pb2.ROLE_SYSTEM,
    "user": chat_pb2.ROLE_USER,
    "assistant": chat_pb2.ROLE_ASSISTANT,
}

_TOKEN_CODECS = {
    None: tokens_pb2.TOKEN_CODEC_UNSPECIFIED,
    "native": tokens_pb2.TOKEN_CODEC_NATIVE,
    "int8": tokens_pb2.TOKEN_CODEC_INT8,
}
_DEGRADATIONS = {
    None: encoder_pb2.DEGRADATION_UNSPECIFIED,
    "fail": encoder_pb2.DEGRADATION_FAIL,
    "encode_anyway": encoder_pb2.DEGRADATION_ENCODE_ANYWAY,
    "compress_more": encoder_pb2.DEGRADATION_COMPRESS_MORE,
}


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        parts: text as `str`; images and videos as a `pathlib.Path`, as bytes or as a PIL image. A
            path has to be a `pathlib.Path`, because every `str` is text.
    """

    role: Literal["system", "user", "assistant"]
    parts: Sequence[str | Path | bytes | Image.Image]


def media_of(source: MediaLike) -> chat_pb2.Media:
    """Build the message of an image or video, without looking into files.

    Raises OSError for a file that cannot be read.
    """
    if isinstance(source, bytes):
        return chat_pb2.Media(data=source)
    if isinstance(source, Image.Image):
        buffer = io.BytesIO()
        source.save(buffer, format="PNG")
        return chat_pb2.Media(data=buffer.getvalue())
    path = Path(source)
    return chat_pb2.Media(data=path.read_bytes(), name=path.name)


def question_about(question: str, media: Sequence[MediaLike]) -> list[chat_pb2.ChatMessage]:
    """Build a conversation of one turn: the media first, then the question."""
    parts = [chat_pb2.ContentPart(media=media_of(m)) for m in media]
    parts.append(chat_pb2.ContentPart(text=question))
    return [chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, parts=parts)]


def conversation(messages: Sequence[Message]) -> list[chat_pb2.ChatMessage]:
    """Build the messages of a conversation. Raises OSError for a file that cannot be read."""
    return [
        chat_pb2.ChatMessage(
            role=_ROLES[m.role],
            parts=[
                chat_pb2.ContentPart(text=p)
                if isinstance(p, str)
                else chat_pb2.ContentPart(media=media_of(p))
                for p in m.parts
            ],
        )
        for m in messages
    ]


@dataclass(frozen=True)
class Options:
    """Options of a request. One that is None is left to the server.

    Attributes:
        profile: name of the compression profile.
        settings: compression settings in place of a profile.
        max_tokens: longest answer, in tokens.
        temperature: 0 is greedy.
        top_p: nucleus sampling, in (0, 1].
        seed: makes sampling repeatable.
        stop: texts before which the answer ends.
        timeout: seconds for all attempts together.
        retries: how often a request is sent again that the service did not take, or lost before
            the caller had any text of its answer.
        degradation: what is accepted rather than a failure; the usage says what was done.
        token_codec: form of visual tokens on their way to the decoder; int8 is smaller and not
            exact.
    """

    profile: str | None = None
    settings: compression_pb2.CompressionSettings | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    timeout: float = 60.0
    retries: int = 3
    degradation: Literal["fail", "encode_anyway", "compress_more"] | None = None
    token_codec: Literal["native", "int8"] | None = None

    def __post_init__(self) -> None:
        if self.degradation not in _DEGRADATIONS:
            allowed = ", ".join(name for name in _DEGRADATIONS if name)
            raise ValueError(f"degradation: got {self.degradation!r}; allowed: {allowed}")
        if self.token_codec not in _TOKEN_CODECS:
            raise ValueError(f"token_codec: got {self.token_codec!r}; allowed: native, int8")

    def request(
        self,
        messages: list[chat_pb2.ChatMessage],
        seconds: float | None = None,
        idempotency_key: str = "",
        whole: bool = False,
    ) -> encoder_pb2.GenerateRequest:
        """Build a request from a conversation and these options.

        Args:
            messages: the conversation.
            seconds: in place of `timeout`.
            idempotency_key: the same for all attempts at one request.
            whole: whether the answer shall come in one piece.
        """
        timeout = duration_pb2.Duration()
        timeout.FromNanoseconds(int((self.timeout if seconds is None else seconds) * 1e9))
        return encoder_pb2.GenerateRequest(
            messages=messages,
            sampling=chat_pb2.Sampling(
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=self.seed,
                stop=self.stop,
            ),
            compression=compression_pb2.Compression(profile=self.profile, settings=self.settings),
            timeout=timeout,
            idempotency_key=idempotency_key,
            degradation=_DEGRADATIONS[self.degradation],
            token_codec=_TOKEN_CODECS[self.token_codec],
            whole_answer=whole,
        )
