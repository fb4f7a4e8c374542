"""What is asked of the engine, and what it gives back."""

from dataclasses import dataclass, field
from typing import Literal

from luvc_core.chat import Message, SamplingParams
from luvc_core.compression.algorithms.schedules import layer_average
from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.pruner import Pruner
from luvc_core.visual_tokens.vision_tokens import VisionTokens

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Request:
    """A conversation to continue. spu: pruning in the LLM, None for none, or a pruner for this
    request alone in the place of SPU."""

    messages: tuple[Message[VisionTokens], ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    spu: SpuSettings | Pruner | None = None

    @property
    def visual_token_count(self) -> int:
        """Of all pictures and clips, before any pruning."""
        parts = (part for message in self.messages for part in message.parts)
        return sum(part.token_count for part in parts if isinstance(part, VisionTokens))


@dataclass(frozen=True)
class Result:
    """Accounts of a finished answer. Names and meaning as in luvc.v1.Usage.

    completion_token_count: without the token that ended the answer. cache_byte_count: keys and
    values of all layers at the end, when they are the most.
    """

    finish_reason: FinishReason
    prompt_token_count: int
    completion_token_count: int
    source_visual_token_count: int
    merged_visual_token_count: int
    layer_visual_token_counts: tuple[int, ...]
    cache_byte_count: int
    prefill_seconds: float
    decode_seconds: float
    pruning_left_out: bool = False

    @property
    def layer_averaged_visual_token_count(self) -> float:
        return layer_average(self.layer_visual_token_counts)


@dataclass(frozen=True)
class Event:
    """What one step brought: certain text, perhaps empty; the result with the last one."""

    text: str
    result: Result | None = None
