"""Requests to the engine, and what it returns."""

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
    """A conversation to continue.

    Attributes:
        messages: the conversation; media in it are already encoded.
        sampling: how tokens of the answer are sampled.
        spu: pruning in the LLM, None for none; or a pruner for this request alone, in the place of
            SPU.
    """

    messages: tuple[Message[VisionTokens], ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    spu: SpuSettings | Pruner | None = None

    @property
    def visual_token_count(self) -> int:
        """Visual tokens of all images and videos, before any pruning."""
        parts = (part for message in self.messages for part in message.parts)
        return sum(part.token_count for part in parts if isinstance(part, VisionTokens))


@dataclass(frozen=True)
class Result:
    """Counts and times of a finished answer. Names and meaning as in luvc.v1.Usage.

    Attributes:
        finish_reason: what ended the answer.
        prompt_token_count: text tokens of the prompt.
        completion_token_count: tokens of the answer, without the one that ended it.
        source_visual_token_count: visual tokens before merging.
        merged_visual_token_count: visual tokens after merging, before pruning.
        layer_visual_token_counts: visual tokens that entered each layer.
        cache_byte_count: keys and values of all layers at the end, when they are largest.
        prefill_seconds: from the first layer of the prompt to the first token.
        decode_seconds: from the first token to the last.
        pruning_left_out: whether pruning was left out because it would not have paid.
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
        """Visual tokens that entered a layer, the mean over all layers."""
        return layer_average(self.layer_visual_token_counts)


@dataclass(frozen=True)
class Event:
    """The new text of one step, perhaps empty; the last step also brings the result."""

    text: str
    result: Result | None = None
