"""Vision halves whose tower takes tiles of one size: an image is one tile or several."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.compression.settings import OimSettings
from luvc_core.models.base import Patches, VisionHalf
from luvc_core.models.checkpoint.layout import Layout
from luvc_core.models.vision.tower import run_tiles, single_piece_tokens
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, VisionTokens


class TiledVision(VisionHalf):
    """Runs the tiles of all images and videos of a call in shared batches.

    A family adds `load`, `preprocess` and `_run_tower`, and `_to_tokens` where the tiles of an
    image are more than the frames of one piece.
    """

    layout: ClassVar[Layout]

    def __init__(self, identity: Identity, tower: Any, projector: Any, processor: Any) -> None:
        """Make a half of modules that hold their weights.

        Args:
            identity: with the digests of vision half and preprocessing.
            tower: vision tower of transformers.
            projector: projector of transformers.
            processor: image processor of transformers.
        """
        self.identity = identity
        self.device = tower.device
        self.dtype = tower.dtype
        self._tower = tower
        self._projector = projector
        self._processor = processor

    @torch.inference_mode()
    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        tiles = run_tiles(patches, lambda pixels: self._run_tower(pixels, oim))
        return [self._to_tokens(*pair, oim) for pair in zip(tiles, patches, strict=True)]

    @abstractmethod
    def _run_tower(self, pixels: Tensor, oim: OimSettings) -> TokenGrid:
        """Merge and project tiles [tiles, channels, height, width]; each becomes one frame."""

    def _to_tokens(self, tiles: TokenGrid, patches: Patches, oim: OimSettings) -> VisionTokens:
        """Make visual tokens of the merged tiles of one image or video, here as one piece."""
        side = self.layout.multiple
        source = Grid(patches.grid.frames, patches.grid.rows // side, patches.grid.columns // side)
        return single_piece_tokens(tiles, source, self.identity, oim, patches.video)
