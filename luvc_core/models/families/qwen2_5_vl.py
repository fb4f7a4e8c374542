"""Qwen2.5-VL: most blocks of the tower attend within windows; the first position axis is time."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLTextModel,
)

from luvc_core.compression.algorithms.projector_blocks import from_blocks, to_blocks
from luvc_core.models.base import Rotary
from luvc_core.models.checkpoint.layout import OpenedCheckpoint, qwen_vl_layout
from luvc_core.models.text.chat_tokenizer import ChatTokenizer
from luvc_core.models.text.positions_mrope import TextMrope
from luvc_core.models.text.visual_marks import ImageMarks, VideoMarks
from luvc_core.models.vision.rotary_tower import RotaryVision, rotary_block
from luvc_core.visual_tokens.vision_tokens import VideoFrames

LAYOUT = qwen_vl_layout("qwen2_5_vl", "Qwen2.5-VL", Qwen2_5_VLConfig)


class Qwen25VLVision(RotaryVision):
    """Vision half of Qwen2.5-VL."""

    layout = LAYOUT
    tower_class = Qwen2_5_VisionTransformerPretrainedModel

    def _run_block(
        self, index: int, block: Any, hidden: Tensor, rotary: Rotary, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if index in self._tower.fullatt_block_indexes:
            return super()._run_block(index, block, hidden, rotary, bias)
        # Windows are cut from the merged grid, like those of a smaller image. So they stay full,
        # with as many tokens as the tower was trained on, and form dense batches. Windows by source
        # position would cover the same area with fewer tokens, a different number in each.
        side = self._tower.window_size // self._tower.patch_size // self._block * self._block
        frames, rows, columns, _ = hidden.shape
        cos, sin = (_to_windows(x.view(frames, rows, columns, -1), side) for x in rotary)
        if bias is not None or rows % side or columns % side:
            weight = hidden.new_zeros(()) if bias is None else bias.view(frames, rows, columns, 1)
            weight = weight.expand(frames, rows, columns, 1)
            bias = _to_windows(weight, side, outside=float("-inf")).view(-1, 1, 1, side**2)
        tokens, keys = rotary_block(block, _to_windows(hidden, side), (cos, sin), bias)
        tokens, keys = (_from_windows(x, frames, rows, columns, side) for x in (tokens, keys))
        return tokens, keys.flatten(1, 2)


def _to_windows(x: Tensor, side: int, outside: float = 0.0) -> Tensor:
    """Cut [frames, rows, columns, dim] into [frames * windows, side * side, dim].

    Windows start at the top left. `outside` fills them past the last row or column.
    """
    padding = (0, 0, 0, -x.shape[2] % side, 0, -x.shape[1] % side)
    return to_blocks(F.pad(x, padding, value=outside), side).flatten(0, 1)


def _from_windows(x: Tensor, frames: int, rows: int, columns: int, side: int) -> Tensor:
    """Join [frames * windows, side * side, dim] to [frames, rows, columns, dim]."""
    tokens = x.reshape(frames, -1, x.shape[-1])
    whole = from_blocks(tokens, rows + -rows % side, columns + -columns % side, side)
    return whole[:, :rows, :columns]


class Qwen25VLLanguage(TextMrope):
    """Language half of Qwen2.5-VL."""

    layout = LAYOUT
    marks = ImageMarks("<|image_pad|>")
    video_marks = VideoMarks("<|video_pad|>", "<|video_pad|>")
    text_models: ClassVar[dict[str, Any]] = {"qwen2_5_vl_text": Qwen2_5_VLTextModel}

    def __init__(
        self,
        opened: OpenedCheckpoint,
        text: Any,
        head: nn.Linear,
        tokenizer: ChatTokenizer,
        stop: frozenset[int],
    ) -> None:
        super().__init__(opened, text, head, tokenizer, stop)
        vision = opened.config.vision_config
        self._positions_per_second: int = vision.tokens_per_second
        self._frames_per_patch: int = vision.temporal_patch_size

    def _times(self, frames: Tensor, video: VideoFrames) -> Tensor:
        # In float32 from here on, as in stock code: `floor` depends on how the products round.
        seconds = torch.tensor(self._frames_per_patch * video.interval, dtype=torch.float32)
        return (frames * (self._positions_per_second * seconds)).floor()
