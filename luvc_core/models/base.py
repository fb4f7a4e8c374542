"""The contract of a model family: a vision half and a language half in different processes.

A family is one module that subclasses both, or one module for each half (LLaVA-OneVision).
Everything else (services, engine, store) imports only this module and the registry. Only this
package imports transformers.
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
    """An image or video, resized and cut. A family may add fields that it needs.

    Attributes:
        pixels: [patches, values] or [tiles, channels, height, width], in the family's own order.
        grid: of the patches; tiles count as frames. The projector may reduce it to a smaller one.
        video: None for an image.
        detail: of the image, as compression.detail measures it; 0 for a video.
    """

    pixels: Tensor
    grid: Grid
    video: VideoFrames | None = field(default=None, kw_only=True)
    detail: float = field(default=0.0, kw_only=True)


class VisionHalf(ABC):
    """Vision tower and projector. Loads no tensor of the language model.

    `preprocess` and `preprocess_video` are pure and safe to call from several threads. `encode`
    uses the device: one call at a time.

    Attributes:
        shows_alone_larger: whether `alone` makes a difference to what an image becomes.
        identity: names all that decides what visual tokens this half makes.
        device: where it computes.
        dtype: in which number format.
        sampling: which frames of a video the family looks at; None where it takes images only.
    """

    shows_alone_larger: ClassVar[bool] = False

    identity: Identity
    device: torch.device
    dtype: torch.dtype
    sampling: FrameSampling | None = None

    @classmethod
    @abstractmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        """Load the tower and the projector of a checkpoint.

        Args:
            checkpoint: of this family.
            device: where the half computes.
            dtype: number format that the weights are converted to.

        Raises:
            CheckpointError: where the folder does not hold what the family needs.
        """

    @abstractmethod
    def preprocess(self, image: Image.Image, alone: bool = True) -> Patches:
        """Resize and cut an RGB image with the checkpoint's own settings.

        `alone` says that it is the only one of its conversation. Some families then use more
        tokens for it.
        """

    def preprocess_video(self, video: Video) -> Patches:
        """Resize and cut the frames of a video. Only called where `sampling` is set."""
        raise InvalidMedia("media", "a clip", "pictures, for this family")

    @abstractmethod
    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        """Run the tower with merging, then the projector; one result per image or video, in order.

        Results are on the CPU. With `oim.is_off` the embeddings equal the stock model's. A result
        does not depend on the other patches of the call, except for rounding. Each frame of a video
        merges by itself, and all frames to one grid.
        """


@dataclass(frozen=True)
class Prompt:
    """A tokenised conversation with placeholders for its visual tokens, all on the CPU.

    Attributes:
        ids: int64 [length], placeholders where visual tokens go.
        segment: int64 [length], the index in `images` of the image or video that each token
            belongs to, -1 for text. A video may form several runs with text in between.
        positions: float32 [length, axes], rotary positions; axes is 1, or 3 for M-RoPE.
        next_position: of the first generated token, on all axes.
        images: the visual tokens of each image and video.
    """

    ids: Tensor
    segment: Tensor
    positions: Tensor
    next_position: float
    images: tuple[VisionTokens, ...]

    @property
    def length(self) -> int:
        """Number of tokens, visual ones included."""
        return self.ids.shape[0]

    @property
    def visual(self) -> Tensor:
        """bool [length], true for visual tokens."""
        return self.segment >= 0


def runs_of(segment: Tensor) -> list[tuple[int, int]]:
    """Return the runs of one image or video, or of text, in order: (its index or -1, length)."""
    return [(index, len(list(run))) for index, run in groupby(segment.tolist())]


Rotary = tuple[Tensor, Tensor]


class LanguageHalf(ABC):
    """Token embedding, decoder layers and head. Loads no tensor of the vision tower.

    Stateless: whatever a request accumulates lives in its own caches, so requests may interleave.

    Attributes:
        positions: whether a token's position has one axis or three.
        identity: names the vision half whose tokens it takes.
        layer_count: number of decoder layers.
        cache_row_bytes: keys and values of one token in one layer.
        row_flops: floating-point operations of one token with the weights of one layer.
        context_length: greatest number of positions.
        stop_ids: tokens that end an answer.
        device: where it computes.
        dtype: in which number format.
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
        """Load the language model of a checkpoint.

        Args:
            checkpoint: of this family.
            device: where the half computes.
            dtype: number format that the weights are converted to.

        Raises:
            CheckpointError: where the folder does not hold what the family needs.
        """

    @abstractmethod
    def tokenize(self, messages: Sequence[Message[VisionTokens]]) -> Prompt:
        """Apply the chat template. Raises InvalidInput where a text holds special tokens."""

    @abstractmethod
    def text_of(self, ids: Sequence[int]) -> str:
        """Convert generated tokens to text, without special tokens."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: [length] -> [length, hidden]."""

    @abstractmethod
    def rotary(self, positions: Tensor) -> Rotary:
        """Compute rotary tables: [length, axes] -> (cos, sin), each [1, length, head size]."""

    @abstractmethod
    def layer(self, index: int, hidden: Tensor, rotary: Rotary, cache: LayerCache) -> Tensor:
        """Run one decoder layer over the new tokens of a request.

        Attention is causal among the new tokens, and sees all cached ones.

        Args:
            index: of the layer.
            hidden: [length, hidden].
            rotary: of the new tokens.
            cache: of this layer; their keys and values are appended to it.

        Returns:
            [length, hidden]
        """

    @abstractmethod
    def decode_layer(
        self, index: int, hidden: Tensor, rotary: Rotary, caches: Sequence[LayerCache]
    ) -> Tensor:
        """Run one decoder layer over one new token of each of several requests.

        Row i attends to `caches[i]` alone.

        Args:
            index: of the layer.
            hidden: [rows, hidden]. Rows past the last cache are padding with any content.
            rotary: of the rows.
            caches: of this layer, one per request; row i is appended to `caches[i]`.

        Returns:
            [rows, hidden]; padding rows are without meaning.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Apply final norm and head: [length, hidden] -> float32 [length, vocabulary]."""
