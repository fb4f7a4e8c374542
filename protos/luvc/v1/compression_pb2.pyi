from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MergeMetric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MERGE_METRIC_UNSPECIFIED: _ClassVar[MergeMetric]
    MERGE_METRIC_KEYS: _ClassVar[MergeMetric]
    MERGE_METRIC_HIDDEN: _ClassVar[MergeMetric]

class MergeAlignment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MERGE_ALIGNMENT_UNSPECIFIED: _ClassVar[MergeAlignment]
    MERGE_ALIGNMENT_PER_LINE: _ClassVar[MergeAlignment]
    MERGE_ALIGNMENT_SHARED: _ClassVar[MergeAlignment]

class MergedPosition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MERGED_POSITION_UNSPECIFIED: _ClassVar[MergedPosition]
    MERGED_POSITION_MEAN: _ClassVar[MergedPosition]
    MERGED_POSITION_KEPT: _ClassVar[MergedPosition]

class LlmPosition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LLM_POSITION_UNSPECIFIED: _ClassVar[LlmPosition]
    LLM_POSITION_GRID: _ClassVar[LlmPosition]
    LLM_POSITION_SOURCE: _ClassVar[LlmPosition]

class PruningScore(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRUNING_SCORE_UNSPECIFIED: _ClassVar[PruningScore]
    PRUNING_SCORE_LOW_PASS: _ClassVar[PruningScore]
    PRUNING_SCORE_HIGH_PASS: _ClassVar[PruningScore]
    PRUNING_SCORE_NORM: _ClassVar[PruningScore]
    PRUNING_SCORE_RANDOM: _ClassVar[PruningScore]

class SpectrumAxis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPECTRUM_AXIS_UNSPECIFIED: _ClassVar[SpectrumAxis]
    SPECTRUM_AXIS_RASTER: _ClassVar[SpectrumAxis]
    SPECTRUM_AXIS_GRID: _ClassVar[SpectrumAxis]
    SPECTRUM_AXIS_CHANNELS: _ClassVar[SpectrumAxis]

class SpectrumSampling(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPECTRUM_SAMPLING_UNSPECIFIED: _ClassVar[SpectrumSampling]
    SPECTRUM_SAMPLING_FILLED: _ClassVar[SpectrumSampling]
    SPECTRUM_SAMPLING_INDEX: _ClassVar[SpectrumSampling]

class ScheduleShape(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCHEDULE_SHAPE_UNSPECIFIED: _ClassVar[ScheduleShape]
    SCHEDULE_SHAPE_LINEAR: _ClassVar[ScheduleShape]
    SCHEDULE_SHAPE_COSINE: _ClassVar[ScheduleShape]
    SCHEDULE_SHAPE_STEP: _ClassVar[ScheduleShape]
MERGE_METRIC_UNSPECIFIED: MergeMetric
MERGE_METRIC_KEYS: MergeMetric
MERGE_METRIC_HIDDEN: MergeMetric
MERGE_ALIGNMENT_UNSPECIFIED: MergeAlignment
MERGE_ALIGNMENT_PER_LINE: MergeAlignment
MERGE_ALIGNMENT_SHARED: MergeAlignment
MERGED_POSITION_UNSPECIFIED: MergedPosition
MERGED_POSITION_MEAN: MergedPosition
MERGED_POSITION_KEPT: MergedPosition
LLM_POSITION_UNSPECIFIED: LlmPosition
LLM_POSITION_GRID: LlmPosition
LLM_POSITION_SOURCE: LlmPosition
PRUNING_SCORE_UNSPECIFIED: PruningScore
PRUNING_SCORE_LOW_PASS: PruningScore
PRUNING_SCORE_HIGH_PASS: PruningScore
PRUNING_SCORE_NORM: PruningScore
PRUNING_SCORE_RANDOM: PruningScore
SPECTRUM_AXIS_UNSPECIFIED: SpectrumAxis
SPECTRUM_AXIS_RASTER: SpectrumAxis
SPECTRUM_AXIS_GRID: SpectrumAxis
SPECTRUM_AXIS_CHANNELS: SpectrumAxis
SPECTRUM_SAMPLING_UNSPECIFIED: SpectrumSampling
SPECTRUM_SAMPLING_FILLED: SpectrumSampling
SPECTRUM_SAMPLING_INDEX: SpectrumSampling
SCHEDULE_SHAPE_UNSPECIFIED: ScheduleShape
SCHEDULE_SHAPE_LINEAR: ScheduleShape
SCHEDULE_SHAPE_COSINE: ScheduleShape
SCHEDULE_SHAPE_STEP: ScheduleShape

class Compression(_message.Message):
    __slots__ = ("profile", "settings")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    profile: str
    settings: CompressionSettings
    def __init__(self, profile: _Optional[str] = ..., settings: _Optional[_Union[CompressionSettings, _Mapping]] = ...) -> None: ...

class CompressionSettings(_message.Message):
    __slots__ = ("oim", "spu", "detailed")
    OIM_FIELD_NUMBER: _ClassVar[int]
    SPU_FIELD_NUMBER: _ClassVar[int]
    DETAILED_FIELD_NUMBER: _ClassVar[int]
    oim: OimSettings
    spu: SpuSettings
    detailed: SpuSettings
    def __init__(self, oim: _Optional[_Union[OimSettings, _Mapping]] = ..., spu: _Optional[_Union[SpuSettings, _Mapping]] = ..., detailed: _Optional[_Union[SpuSettings, _Mapping]] = ...) -> None: ...

class OimSettings(_message.Message):
    __slots__ = ("keep_rows", "keep_columns", "blocks", "metric", "window", "alignment", "position", "llm_position", "proportional_attention")
    KEEP_ROWS_FIELD_NUMBER: _ClassVar[int]
    KEEP_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ALIGNMENT_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    LLM_POSITION_FIELD_NUMBER: _ClassVar[int]
    PROPORTIONAL_ATTENTION_FIELD_NUMBER: _ClassVar[int]
    keep_rows: float
    keep_columns: float
    blocks: _containers.RepeatedScalarFieldContainer[float]
    metric: MergeMetric
    window: int
    alignment: MergeAlignment
    position: MergedPosition
    llm_position: LlmPosition
    proportional_attention: bool
    def __init__(self, keep_rows: _Optional[float] = ..., keep_columns: _Optional[float] = ..., blocks: _Optional[_Iterable[float]] = ..., metric: _Optional[_Union[MergeMetric, str]] = ..., window: _Optional[int] = ..., alignment: _Optional[_Union[MergeAlignment, str]] = ..., position: _Optional[_Union[MergedPosition, str]] = ..., llm_position: _Optional[_Union[LlmPosition, str]] = ..., proportional_attention: _Optional[bool] = ...) -> None: ...

class ScheduleRamp(_message.Message):
    __slots__ = ("start", "end", "shape", "every", "first_keep", "steps")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    EVERY_FIELD_NUMBER: _ClassVar[int]
    FIRST_KEEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    start: float
    end: float
    shape: ScheduleShape
    every: int
    first_keep: float
    steps: int
    def __init__(self, start: _Optional[float] = ..., end: _Optional[float] = ..., shape: _Optional[_Union[ScheduleShape, str]] = ..., every: _Optional[int] = ..., first_keep: _Optional[float] = ..., steps: _Optional[int] = ...) -> None: ...

class ScheduleKeep(_message.Message):
    __slots__ = ("shares",)
    SHARES_FIELD_NUMBER: _ClassVar[int]
    shares: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, shares: _Optional[_Iterable[float]] = ...) -> None: ...

class SpuSettings(_message.Message):
    __slots__ = ("ramp", "keep", "score", "cutoff", "axis", "sampling", "normalize", "proportional_attention")
    RAMP_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CUTOFF_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    PROPORTIONAL_ATTENTION_FIELD_NUMBER: _ClassVar[int]
    ramp: ScheduleRamp
    keep: ScheduleKeep
    score: PruningScore
    cutoff: float
    axis: SpectrumAxis
    sampling: SpectrumSampling
    normalize: bool
    proportional_attention: bool
    def __init__(self, ramp: _Optional[_Union[ScheduleRamp, _Mapping]] = ..., keep: _Optional[_Union[ScheduleKeep, _Mapping]] = ..., score: _Optional[_Union[PruningScore, str]] = ..., cutoff: _Optional[float] = ..., axis: _Optional[_Union[SpectrumAxis, str]] = ..., sampling: _Optional[_Union[SpectrumSampling, str]] = ..., normalize: _Optional[bool] = ..., proportional_attention: _Optional[bool] = ...) -> None: ...
