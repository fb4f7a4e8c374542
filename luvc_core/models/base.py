"""The contract of a model family: a vision half and a language half that never meet.

A family is one file that subclasses both. Everything else - services, engine, store - sees only
this module and the registry. Only this package imports transformers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import ClassVar, Literal, Self

import torch
from PIL import Image
from torch import Tensor

from luvc_core.chat import Message
from luvc_core.compression.settings import OimSettings
from luvc_core.errors import InvalidMedia
from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.media.frame_sampling import FrameSampling
from luvc_core.media.video_request import Video
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, VideoFrames, VisionTokens


@dataclass(frozen=True)
class Patches:
    """A picture or clip, resized and cut: `pixels` [patches, values], or [tiles, channels, height,
    width], in the family's own order. A family may add what else it has to know of it.

    grid: of the patches, tiles counting as frames. The projector may reduce it to a smaller one.
    video: None for a picture. detail: of the picture, as media.detail has it; 0 for a clip.
    """

    pixels: Tensor
    grid: Grid
    video: VideoFrames | None = field(default=None, kw_only=True)
    detail: float = field(default=0.0, kw_only=True)


class VisionHalf(ABC):
    """Vision tower and projector. Loads no tensor of the language model.

    `preprocess` and `preprocess_video` are pure and safe to call from several threads. `encode`
    uses the device: one call at a time.

    sampling: which frames of a clip the family looks at, None where it takes pictures only.
    shows_alone_larger: whether `alone` makes a difference to what a picture becomes.
    """

    shows_alone_larger: ClassVar[bool] = False

    identity: Identity
    device: torch.device
    dtype: torch.dtype
    sampling: FrameSampling | None = None

    @classmethod
    @abstractmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        """Raises CheckpointError where the folder does not hold what the family needs."""

    @abstractmethod
    def preprocess(self, image: Image.Image, alone: bool = True) -> Patches:
        """Resize and cut an RGB picture with the checkpoint's own settings.

        alone: it is the only one of its conversation. Some families then see it in more detail.
        """

    def preprocess_video(self, video: Video) -> Patches:
        """The same for the frames of a clip. Only called where there is a `sampling`."""
        raise InvalidMedia("media", "a clip", "pictures, for this family")

    @abstractmethod
    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        """Tower with merging, then projector. One result a picture or clip, in order, on the CPU.

        With `oim.is_off` the embeddings equal the stock model's. What one becomes does not depend
        on those beside it, but for rounding. A clip merges each frame by itself, all to one grid.
        """


@dataclass(frozen=True)
class Prompt:
    """A tokenised conversation with room for its visual tokens.

    ids: int64 [length], placeholders where visual tokens go. segment: int64 [length], which
    picture or clip a place belongs to, -1 for text; a clip may stand in several runs with text
    between them. positions: float32 [length, axes], the rotary
    position of each place (axes is 1, or 3 for M-RoPE). next_position: where the first generated
    token stands, on all axes. images: in the order of their segments. All on the CPU.
    """

    ids: Tensor
    segment: Tensor
    positions: Tensor
    next_position: float
    images: tuple[VisionTokens, ...]

    @property
    def length(self) -> int:
        return self.ids.shape[0]

    @property
    def visual(self) -> Tensor:
        """bool [length]: the places of visual tokens."""
        return self.segment >= 0


def runs_of(segment: Tensor) -> list[tuple[int, int]]:
    """Neighbouring places of one medium, or of text: (medium or -1, how many), in order."""
    return [(image, len(list(run))) for image, run in groupby(segment.tolist())]


Rotary = tuple[Tensor, Tensor]


class LanguageHalf(ABC):
    """Token embedding, decoder layers and head. Loads no tensor of the vision tower.

    Stateless: whatever a request accumulates lives in its own caches, so requests may interleave.
    positions: whether a place has one, or three axes. cache_row_bytes: keys and values of one token
    in one layer. row_flops: floating-point operations of one token with the weights of a layer.
    """

    positions: ClassVar[Literal["1-D", "M-RoPE"]]
    identity: Identity
    layer_count: int
    cache_row_bytes: int
    row_flops: int
    context_length: int
    stop_ids: frozenset[int]
    device: torch.device
    dtype: torch.dtype

    @classmethod
    @abstractmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        """Raises CheckpointError where the folder does not hold what the family needs."""

    @abstractmethod
    def tokenize(self, messages: Sequence[Message[VisionTokens]]) -> Prompt:
        """Apply the chat template. Raises InvalidInput where text holds special tokens."""

    @abstractmethod
    def text_of(self, ids: Sequence[int]) -> str:
        """Text of generated tokens, special ones left out."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """[length] -> [length, hidden]"""

    @abstractmethod
    def rotary(self, positions: Tensor) -> Rotary:
        """[length, axes] -> (cos, sin), each [1, length, head size]"""

    @abstractmethod
    def layer(self, index: int, hidden: Tensor, rotary: Rotary, cache: LayerCache) -> Tensor:
        """One decoder layer over new tokens [length, hidden]; appends their keys and values to
        `cache`. Causal among the new tokens; all cached ones are visible."""

    @abstractmethod
    def decode_layer(
        self, index: int, hidden: Tensor, rotary: Rotary, caches: Sequence[LayerCache]
    ) -> Tensor:
        """One decoder layer over one new token of each of several requests, [rows, hidden].

        Row i sees `caches[i]`, which grows by it, and nothing of the others. Rows past the last
        cache are padding: they may be anything, and come to nothing.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """[length, hidden] -> float32 [length, vocabulary], final norm included."""
