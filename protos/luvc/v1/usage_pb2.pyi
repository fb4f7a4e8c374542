import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StageTimes(_message.Message):
    __slots__ = ("media", "encode_queue", "encode", "transfer", "prefill_queue", "prefill", "decode", "time_to_first_token", "total")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    ENCODE_QUEUE_FIELD_NUMBER: _ClassVar[int]
    ENCODE_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    PREFILL_QUEUE_FIELD_NUMBER: _ClassVar[int]
    PREFILL_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    media: _duration_pb2.Duration
    encode_queue: _duration_pb2.Duration
    encode: _duration_pb2.Duration
    transfer: _duration_pb2.Duration
    prefill_queue: _duration_pb2.Duration
    prefill: _duration_pb2.Duration
    decode: _duration_pb2.Duration
    time_to_first_token: _duration_pb2.Duration
    total: _duration_pb2.Duration
    def __init__(self, media: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., encode_queue: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., encode: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., transfer: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., prefill_queue: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., prefill: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., decode: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., time_to_first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_token_count", "completion_token_count", "source_visual_token_count", "merged_visual_token_count", "layer_averaged_visual_token_count", "layer_visual_token_counts", "wire_byte_count", "uncompressed_byte_count", "times", "profile", "frame_count", "reused_media_count", "media_kept", "fetched_media_count", "degradations", "pruning_left_out")
    PROMPT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_VISUAL_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    MERGED_VISUAL_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAYER_AVERAGED_VISUAL_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAYER_VISUAL_TOKEN_COUNTS_FIELD_NUMBER: _ClassVar[int]
    WIRE_BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNCOMPRESSED_BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    REUSED_MEDIA_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEDIA_KEPT_FIELD_NUMBER: _ClassVar[int]
    FETCHED_MEDIA_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEGRADATIONS_FIELD_NUMBER: _ClassVar[int]
    PRUNING_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    prompt_token_count: int
    completion_token_count: int
    source_visual_token_count: int
    merged_visual_token_count: int
    layer_averaged_visual_token_count: float
    layer_visual_token_counts: _containers.RepeatedScalarFieldContainer[int]
    wire_byte_count: int
    uncompressed_byte_count: int
    times: StageTimes
    profile: str
    frame_count: int
    reused_media_count: int
    media_kept: bool
    fetched_media_count: int
    degradations: _containers.RepeatedScalarFieldContainer[str]
    pruning_left_out: bool
    def __init__(self, prompt_token_count: _Optional[int] = ..., completion_token_count: _Optional[int] = ..., source_visual_token_count: _Optional[int] = ..., merged_visual_token_count: _Optional[int] = ..., layer_averaged_visual_token_count: _Optional[float] = ..., layer_visual_token_counts: _Optional[_Iterable[int]] = ..., wire_byte_count: _Optional[int] = ..., uncompressed_byte_count: _Optional[int] = ..., times: _Optional[_Union[StageTimes, _Mapping]] = ..., profile: _Optional[str] = ..., frame_count: _Optional[int] = ..., reused_media_count: _Optional[int] = ..., media_kept: _Optional[bool] = ..., fetched_media_count: _Optional[int] = ..., degradations: _Optional[_Iterable[str]] = ..., pruning_left_out: _Optional[bool] = ...) -> None: ...
