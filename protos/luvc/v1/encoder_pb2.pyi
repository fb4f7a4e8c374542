import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from luvc.v1 import chat_pb2 as _chat_pb2
from luvc.v1 import compression_pb2 as _compression_pb2
from luvc.v1 import tokens_pb2 as _tokens_pb2
from luvc.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Degradation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEGRADATION_UNSPECIFIED: _ClassVar[Degradation]
    DEGRADATION_FAIL: _ClassVar[Degradation]
    DEGRADATION_ENCODE_ANYWAY: _ClassVar[Degradation]
    DEGRADATION_COMPRESS_MORE: _ClassVar[Degradation]
DEGRADATION_UNSPECIFIED: Degradation
DEGRADATION_FAIL: Degradation
DEGRADATION_ENCODE_ANYWAY: Degradation
DEGRADATION_COMPRESS_MORE: Degradation

class GenerateRequest(_message.Message):
    __slots__ = ("messages", "sampling", "compression", "timeout", "request_id", "idempotency_key", "degradation", "token_codec", "whole_answer")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    DEGRADATION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_CODEC_FIELD_NUMBER: _ClassVar[int]
    WHOLE_ANSWER_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_chat_pb2.ChatMessage]
    sampling: _chat_pb2.Sampling
    compression: _compression_pb2.Compression
    timeout: _duration_pb2.Duration
    request_id: str
    idempotency_key: str
    degradation: Degradation
    token_codec: _tokens_pb2.TokenCodec
    whole_answer: bool
    def __init__(self, messages: _Optional[_Iterable[_Union[_chat_pb2.ChatMessage, _Mapping]]] = ..., sampling: _Optional[_Union[_chat_pb2.Sampling, _Mapping]] = ..., compression: _Optional[_Union[_compression_pb2.Compression, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., degradation: _Optional[_Union[Degradation, str]] = ..., token_codec: _Optional[_Union[_tokens_pb2.TokenCodec, str]] = ..., whole_answer: _Optional[bool] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("text", "finish_reason", "usage")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: _chat_pb2.FinishReason
    usage: _usage_pb2.Usage
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[_Union[_chat_pb2.FinishReason, str]] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ...) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("media", "compression")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    media: _containers.RepeatedCompositeFieldContainer[_chat_pb2.Media]
    compression: _compression_pb2.Compression
    def __init__(self, media: _Optional[_Iterable[_Union[_chat_pb2.Media, _Mapping]]] = ..., compression: _Optional[_Union[_compression_pb2.Compression, _Mapping]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("vision_tokens",)
    VISION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    vision_tokens: _containers.RepeatedCompositeFieldContainer[_tokens_pb2.VisionTokens]
    def __init__(self, vision_tokens: _Optional[_Iterable[_Union[_tokens_pb2.VisionTokens, _Mapping]]] = ...) -> None: ...

class FetchTokensRequest(_message.Message):
    __slots__ = ("handle",)
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    handle: str
    def __init__(self, handle: _Optional[str] = ...) -> None: ...

class FetchTokensResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
