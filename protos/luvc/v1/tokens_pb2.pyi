from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    D_TYPE_UNSPECIFIED: _ClassVar[DType]
    D_TYPE_FLOAT32: _ClassVar[DType]
    D_TYPE_BFLOAT16: _ClassVar[DType]
    D_TYPE_FLOAT16: _ClassVar[DType]
    D_TYPE_INT8: _ClassVar[DType]

class Separators(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEPARATORS_UNSPECIFIED: _ClassVar[Separators]
    SEPARATORS_NONE: _ClassVar[Separators]
    SEPARATORS_ROW: _ClassVar[Separators]
    SEPARATORS_PIECE: _ClassVar[Separators]

class TokenCodec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOKEN_CODEC_UNSPECIFIED: _ClassVar[TokenCodec]
    TOKEN_CODEC_NATIVE: _ClassVar[TokenCodec]
    TOKEN_CODEC_INT8: _ClassVar[TokenCodec]

class TokenSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOKEN_SOURCE_UNSPECIFIED: _ClassVar[TokenSource]
    TOKEN_SOURCE_ENCODER: _ClassVar[TokenSource]
    TOKEN_SOURCE_STORE: _ClassVar[TokenSource]
D_TYPE_UNSPECIFIED: DType
D_TYPE_FLOAT32: DType
D_TYPE_BFLOAT16: DType
D_TYPE_FLOAT16: DType
D_TYPE_INT8: DType
SEPARATORS_UNSPECIFIED: Separators
SEPARATORS_NONE: Separators
SEPARATORS_ROW: Separators
SEPARATORS_PIECE: Separators
TOKEN_CODEC_UNSPECIFIED: TokenCodec
TOKEN_CODEC_NATIVE: TokenCodec
TOKEN_CODEC_INT8: TokenCodec
TOKEN_SOURCE_UNSPECIFIED: TokenSource
TOKEN_SOURCE_ENCODER: TokenSource
TOKEN_SOURCE_STORE: TokenSource

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Grid(_message.Message):
    __slots__ = ("frames", "rows", "columns")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    frames: int
    rows: int
    columns: int
    def __init__(self, frames: _Optional[int] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...

class Piece(_message.Message):
    __slots__ = ("grid", "source_grid", "separators")
    GRID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_GRID_FIELD_NUMBER: _ClassVar[int]
    SEPARATORS_FIELD_NUMBER: _ClassVar[int]
    grid: Grid
    source_grid: Grid
    separators: Separators
    def __init__(self, grid: _Optional[_Union[Grid, _Mapping]] = ..., source_grid: _Optional[_Union[Grid, _Mapping]] = ..., separators: _Optional[_Union[Separators, str]] = ...) -> None: ...

class ModelIdentity(_message.Message):
    __slots__ = ("family", "revision", "vision_sha256", "projector_sha256", "preprocessing_sha256", "hidden_size", "protocol_version")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VISION_SHA256_FIELD_NUMBER: _ClassVar[int]
    PROJECTOR_SHA256_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_SHA256_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    family: str
    revision: str
    vision_sha256: str
    projector_sha256: str
    preprocessing_sha256: str
    hidden_size: int
    protocol_version: int
    def __init__(self, family: _Optional[str] = ..., revision: _Optional[str] = ..., vision_sha256: _Optional[str] = ..., projector_sha256: _Optional[str] = ..., preprocessing_sha256: _Optional[str] = ..., hidden_size: _Optional[int] = ..., protocol_version: _Optional[int] = ...) -> None: ...

class ClipFrames(_message.Message):
    __slots__ = ("count", "interval_seconds")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    count: int
    interval_seconds: float
    def __init__(self, count: _Optional[int] = ..., interval_seconds: _Optional[float] = ...) -> None: ...

class VisionTokens(_message.Message):
    __slots__ = ("embeddings", "grid", "source_grid", "positions", "sizes", "checksum_sha256", "identity", "merge_sha256", "source_positions", "pieces", "clip", "reference", "scales", "kept_places", "kept_counts")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_GRID_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_SHA256_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    MERGE_SHA256_FIELD_NUMBER: _ClassVar[int]
    SOURCE_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    CLIP_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    KEPT_PLACES_FIELD_NUMBER: _ClassVar[int]
    KEPT_COUNTS_FIELD_NUMBER: _ClassVar[int]
    embeddings: Tensor
    grid: Grid
    source_grid: Grid
    positions: Tensor
    sizes: Tensor
    checksum_sha256: bytes
    identity: ModelIdentity
    merge_sha256: str
    source_positions: bool
    pieces: _containers.RepeatedCompositeFieldContainer[Piece]
    clip: ClipFrames
    reference: TokenReference
    scales: Tensor
    kept_places: _containers.RepeatedScalarFieldContainer[int]
    kept_counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, embeddings: _Optional[_Union[Tensor, _Mapping]] = ..., grid: _Optional[_Union[Grid, _Mapping]] = ..., source_grid: _Optional[_Union[Grid, _Mapping]] = ..., positions: _Optional[_Union[Tensor, _Mapping]] = ..., sizes: _Optional[_Union[Tensor, _Mapping]] = ..., checksum_sha256: _Optional[bytes] = ..., identity: _Optional[_Union[ModelIdentity, _Mapping]] = ..., merge_sha256: _Optional[str] = ..., source_positions: _Optional[bool] = ..., pieces: _Optional[_Iterable[_Union[Piece, _Mapping]]] = ..., clip: _Optional[_Union[ClipFrames, _Mapping]] = ..., reference: _Optional[_Union[TokenReference, _Mapping]] = ..., scales: _Optional[_Union[Tensor, _Mapping]] = ..., kept_places: _Optional[_Iterable[int]] = ..., kept_counts: _Optional[_Iterable[int]] = ...) -> None: ...

class TokenReference(_message.Message):
    __slots__ = ("source", "key", "handle", "endpoint", "byte_count", "checksum_sha256")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_SHA256_FIELD_NUMBER: _ClassVar[int]
    source: TokenSource
    key: str
    handle: str
    endpoint: str
    byte_count: int
    checksum_sha256: bytes
    def __init__(self, source: _Optional[_Union[TokenSource, str]] = ..., key: _Optional[str] = ..., handle: _Optional[str] = ..., endpoint: _Optional[str] = ..., byte_count: _Optional[int] = ..., checksum_sha256: _Optional[bytes] = ...) -> None: ...
