import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from luvc.v1 import chat_pb2 as _chat_pb2
from luvc.v1 import compression_pb2 as _compression_pb2
from luvc.v1 import tokens_pb2 as _tokens_pb2
from luvc.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecoderServiceGenerateRequest(_message.Message):
    __slots__ = ("messages", "vision_tokens", "sampling", "spu", "timeout", "request_id", "whole_answer")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    VISION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SPU_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    WHOLE_ANSWER_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_chat_pb2.ChatMessage]
    vision_tokens: _containers.RepeatedCompositeFieldContainer[_tokens_pb2.VisionTokens]
    sampling: _chat_pb2.Sampling
    spu: _compression_pb2.SpuSettings
    timeout: _duration_pb2.Duration
    request_id: str
    whole_answer: bool
    def __init__(self, messages: _Optional[_Iterable[_Union[_chat_pb2.ChatMessage, _Mapping]]] = ..., vision_tokens: _Optional[_Iterable[_Union[_tokens_pb2.VisionTokens, _Mapping]]] = ..., sampling: _Optional[_Union[_chat_pb2.Sampling, _Mapping]] = ..., spu: _Optional[_Union[_compression_pb2.SpuSettings, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., whole_answer: _Optional[bool] = ...) -> None: ...

class DecoderServiceGenerateResponse(_message.Message):
    __slots__ = ("text", "finish_reason", "usage")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: _chat_pb2.FinishReason
    usage: _usage_pb2.Usage
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[_Union[_chat_pb2.FinishReason, str]] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ...) -> None: ...

class GetModelInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelInfoResponse(_message.Message):
    __slots__ = ("identity", "layer_count", "context_length", "token_sources", "token_codecs", "takes_sparse_tokens")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    LAYER_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    TOKEN_SOURCES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_CODECS_FIELD_NUMBER: _ClassVar[int]
    TAKES_SPARSE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    identity: _tokens_pb2.ModelIdentity
    layer_count: int
    context_length: int
    token_sources: _containers.RepeatedScalarFieldContainer[_tokens_pb2.TokenSource]
    token_codecs: _containers.RepeatedScalarFieldContainer[_tokens_pb2.TokenCodec]
    takes_sparse_tokens: bool
    def __init__(self, identity: _Optional[_Union[_tokens_pb2.ModelIdentity, _Mapping]] = ..., layer_count: _Optional[int] = ..., context_length: _Optional[int] = ..., token_sources: _Optional[_Iterable[_Union[_tokens_pb2.TokenSource, str]]] = ..., token_codecs: _Optional[_Iterable[_Union[_tokens_pb2.TokenCodec, str]]] = ..., takes_sparse_tokens: _Optional[bool] = ...) -> None: ...
