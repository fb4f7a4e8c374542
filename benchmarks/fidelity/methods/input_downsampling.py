"""Input downsampling: a smaller image, no method at all. Positions are those of the smaller one.

A family that cuts an image of any size into patches is given a smaller file. One whose tiles have a
fixed size is given its tiles made smaller, with the tower's positions interpolated.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.fidelity.matching import smaller_grid
from benchmarks.fidelity.methods.base import Method
from benchmarks.fidelity.question import Question
from luvc_core.compression.settings import OimSettings
from luvc_core.media.decode_video import decode_video
from luvc_core.media.images import decode_image
from luvc_core.models.base import Patches
from luvc_core.models.families.internvl import InternVLVision
from luvc_core.models.families.llava_onevision_vision import LlavaOnevisionVision
from luvc_core.visual_tokens.vision_tokens import Grid, VisionTokens


class InputDownsampling(Method):
    """Make images and frames smaller before the tower."""

    name = "downsampling"

    def visual(self, question: Question, target: float) -> list[VisionTokens]:
        return question.once((self.name, target), lambda: _encoded(question, target))


def _encoded(question: Question, target: float) -> list[VisionTokens]:
    vision = question.checkpoint.encoder.vision
    piece = question.plain[0].pieces[0].grid
    rows, columns = smaller_grid(piece.rows, piece.columns, target)
    down, across = rows / piece.rows, columns / piece.columns
    if isinstance(vision, InternVLVision):
        small = [_smaller_tiles(p, down, across) for p in question.prepared]
        return vision.encode(small, OimSettings())
    if isinstance(vision, LlavaOnevisionVision):
        with smaller_side(vision, round(vision._side * target**0.5)) as side:
            scale = side / question.prepared[0].grid.rows
            small = [_smaller_tiles(p, scale, scale) for p in question.prepared]
            return vision.encode(small, OimSettings())
    return vision.encode(_smaller_files(question, down, across), OimSettings())


def _smaller_tiles(patches: Patches, down: float, across: float) -> Patches:
    """Resize tiles. pixels: [tiles, channels, height, width]."""
    grid = patches.grid
    height, width = patches.pixels.shape[2] // grid.rows, patches.pixels.shape[3] // grid.columns
    rows, columns = round(grid.rows * down), round(grid.columns * across)
    pixels = F.interpolate(
        patches.pixels, (rows * height, columns * width), mode="bicubic", antialias=True
    )
    return dataclasses.replace(patches, pixels=pixels, grid=Grid(grid.frames, rows, columns))


def _smaller_files(question: Question, down: float, across: float) -> list[Patches]:
    """Resize images, or the frames of videos, before the family's own processor sees them."""
    encoder = question.checkpoint.encoder
    vision, limits = encoder.vision, encoder.limits
    alone = len(question.asked.files) == 1

    def smaller(image: Image.Image) -> Image.Image:
        size = (round(image.width * across), round(image.height * down))
        return image.resize(size, Image.Resampling.BICUBIC)

    patches = []
    for data in question.asked.files:
        if question.asked.suffix == "png":
            patches.append(vision.preprocess(smaller(decode_image(data, "file", limits)), alone))
        else:
            assert vision.sampling is not None
            video = decode_video(data, "file", limits, vision.sampling)
            video = dataclasses.replace(video, frames=tuple(map(smaller, video.frames)))
            patches.append(vision.preprocess_video(video))
    return patches


@contextmanager
def smaller_side(vision: LlavaOnevisionVision, side: int) -> Iterator[int]:
    """Give tiles `side` patches a side within the block, and interpolate the table of positions."""
    embeddings, before = vision._tower.embeddings, vision._side
    table, max_tokens = embeddings.position_embedding, vision._max_tokens
    places = _resized(table.weight, before, side)
    embeddings.position_embedding = torch.nn.Embedding(side**2, places.shape[1], _weight=places)
    vision._side, vision._max_tokens = side, max_tokens * side**2 // before**2
    try:
        yield side
    finally:
        vision._side, vision._max_tokens = before, max_tokens
        embeddings.position_embedding = table


def _resized(table: Tensor, before: int, side: int) -> Tensor:
    """Interpolate a table: [before * before, dim] -> [side * side, dim]."""
    planes = table.detach().float().view(1, before, before, -1).movedim(-1, 1)
    planes = F.interpolate(planes, (side, side), mode="bicubic", antialias=True)
    return planes.movedim(1, -1).flatten(0, 2).to(table.dtype)
