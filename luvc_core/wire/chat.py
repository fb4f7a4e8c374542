"""Conversations with their media, and how an answer is sampled.

Callers send files, the encoder passes the conversation on without them, and the decoder puts
visual tokens where they stood.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from luvc.v1 import chat_pb2
from luvc.wire.fields import fields_of

from luvc_core.chat import Message, Role, SamplingParams, check_conversation
from luvc_core.errors import InvalidInput
from luvc_core.media.media_file import MediaFile
from luvc_core.visual_tokens.vision_tokens import VisionTokens

MediaT = TypeVar("MediaT")
Conversation = tuple[Message[MediaFile], ...]

ROLES: dict[Role, chat_pb2.Role] = {
    "system": chat_pb2.ROLE_SYSTEM,
    "user": chat_pb2.ROLE_USER,
    "assistant": chat_pb2.ROLE_ASSISTANT,
}
_ROLES_BY_NUMBER: dict[int, Role] = {number: role for role, number in ROLES.items()}


def write_conversation(conversation: Conversation) -> list[chat_pb2.ChatMessage]:
    """Write a conversation for the decoder: media keep their places and lose their bytes."""
    return [
        chat_pb2.ChatMessage(
            role=ROLES[message.role],
            parts=[
                chat_pb2.ContentPart(text=part)
                if isinstance(part, str)
                else chat_pb2.ContentPart(media=chat_pb2.Media())
                for part in message.parts
            ],
        )
        for message in conversation
    ]


def read_conversation(messages: Sequence[chat_pb2.ChatMessage]) -> Conversation:
    """Read a caller's conversation. Raises InvalidInput unless it can be answered."""
    return _read_messages(messages, read_media_file)


def read_conversation_with_tokens(
    messages: Sequence[chat_pb2.ChatMessage], tokens: Sequence[VisionTokens]
) -> tuple[Message[VisionTokens], ...]:
    """Read a conversation at the decoder, with visual tokens where its media parts stand.

    Raises InvalidInput unless there are as many of each, and the conversation can be answered.
    """
    count = sum(part.WhichOneof("part") == "media" for m in messages for part in m.parts)
    if count != len(tokens):
        raise InvalidInput("vision_tokens", f"got {len(tokens)}", f"{count}, one a media part")
    remaining = iter(tokens)

    def next_tokens(media: chat_pb2.Media, field: str) -> VisionTokens:
        if media.data:
            raise InvalidInput(f"{field}.data", "not empty", "vision_tokens")
        return next(remaining)

    return _read_messages(messages, next_tokens)


def _read_messages(
    messages: Sequence[chat_pb2.ChatMessage], read_media: Callable[[chat_pb2.Media, str], MediaT]
) -> tuple[Message[MediaT], ...]:
    conversation = tuple(
        _read_message(message, f"messages[{i}]", read_media) for i, message in enumerate(messages)
    )
    check_conversation(conversation)
    return conversation


def _read_message(
    message: chat_pb2.ChatMessage, field: str, read_media: Callable[[chat_pb2.Media, str], MediaT]
) -> Message[MediaT]:
    if message.role not in _ROLES_BY_NUMBER:
        raise InvalidInput(f"{field}.role", f"got {message.role}", ", ".join(ROLES))
    parts: list[str | MediaT] = []
    for j, part in enumerate(message.parts):
        match part.WhichOneof("part"):
            case "text":
                parts.append(part.text)
            case "media":
                parts.append(read_media(part.media, f"{field}.parts[{j}].media"))
            case _:
                raise InvalidInput(f"{field}.parts[{j}]", "empty", "text or media")
    return Message(_ROLES_BY_NUMBER[message.role], tuple(parts))


def read_media_file(message: chat_pb2.Media, field: str) -> MediaFile:
    """Read an image or video as a caller sent it. Raises InvalidInput where the digest is none."""
    digest = message.digest_sha256
    if len(digest) not in (0, 32):
        got = f"{len(digest)} bytes"
        raise InvalidInput(f"{field}.digest_sha256", got, "32 bytes, or none")
    return MediaFile(message.data, field, digest)


def media_in(conversation: Conversation) -> list[MediaFile]:
    """List all images and videos, in reading order."""
    return [part for m in conversation for part in m.parts if isinstance(part, MediaFile)]


def read_sampling(message: chat_pb2.Sampling) -> SamplingParams:
    """Read how an answer is sampled. Raises InvalidSettings for values out of range.

    There is no writer: the encoder passes the caller's message on, so that the decoder's defaults
    apply to what is unset.
    """
    return SamplingParams(**fields_of(message) | {"stop": tuple(message.stop)})
