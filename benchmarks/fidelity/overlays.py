"""Draw compression over images: merged grids, and which tokens survive to which layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.common.checkpoint import Checkpoint
from benchmarks.common.merge_1d import Recorder
from benchmarks.common.merging_override import merging_by
from benchmarks.fidelity.methods.luvc import matched_ramp
from benchmarks.tasks import questions
from benchmarks.tasks.question_files import png
from luvc_core.compression.algorithms.merging import merge_grid
from luvc_core.compression.settings import OimSettings, SpuSettings
from luvc_core.engine.prefill import pruner_for
from luvc_core.engine.pruner import Pruner, PruningDecision, SurvivingTokens
from luvc_core.models.base import Rotary
from luvc_core.visual_tokens.vision_tokens import VisionTokens

Raster = NDArray[np.generic]
KINDS = ("presence", "chart", "document")
KEEPS = (1.0, 0.75, 0.5)
_LINE = "#D55E00"
_FADED = (84, 108, 138)


@dataclass
class Tracer:
    """A Pruner that records another one's choices for the first image.

    Attributes:
        indices: for each layer, which of the image's tokens enter it.
    """

    pruner: Pruner
    indices: list[Tensor]

    def decide(
        self, layer: int, hidden: Tensor, rotary: Rotary, survivors: Sequence[SurvivingTokens]
    ) -> Sequence[PruningDecision | None]:
        decisions = self.pruner.decide(layer, hidden, rotary, survivors)
        indices, decision = survivors[0].indices, decisions[0]
        self.indices.append(indices if decision is None else indices[decision.indices])
        return decisions


def survivors(
    checkpoint: Checkpoint, tokens: Sequence[VisionTokens], question: str, spu: SpuSettings
) -> list[Tensor]:
    """Return, for each layer, which of the first image's tokens enter it.

    Args:
        checkpoint: both halves.
        tokens: of each image.
        question: about them.
        spu: the pruning.
    """
    layers = checkpoint.engine.language.layer_count
    pruner = pruner_for(spu, tokens, layers)
    assert pruner is not None
    tracer = Tracer(pruner, [])
    checkpoint.ask(tokens, question, tracer)
    return tracer.indices


def merged_grids(checkpoint: Checkpoint) -> Figure:
    """Draw a row for each image: its cells, merged less and more.

    For towers that see an image as one tile.
    """
    side = checkpoint.encoder.vision.layout.multiple  # type: ignore[attr-defined]
    figure, panels = plt.subplots(len(KINDS), len(KEEPS), figsize=(9, 9.6), layout="constrained")
    for line, kind in zip(panels, KINDS, strict=True):
        image = next(questions(kind, 1))[0]
        for axes, keep in zip(line, KEEPS, strict=True):
            recorder = Recorder(merge_grid)
            oim = OimSettings(keep_rows=keep, keep_columns=keep, blocks=(0.5, 0.8))
            patches = checkpoint.encoder.prepare(png(image), "picture")
            with merging_by(recorder):
                (tokens,) = checkpoint.encoder.encode([patches], oim)
            grid = tokens.pieces[0].grid
            axes.imshow(image)
            if oim.is_off:
                rows, columns = grid.rows, grid.columns
                owners = np.arange(rows * columns).reshape(rows, columns)
            else:
                owners = recorder.owners(side).numpy()
            _outline(axes, owners, image)
            axes.set_title(f"{kind}: {grid.rows} x {grid.columns} tokens", fontsize=10)
            axes.set_axis_off()
    return figure


def _outline(axes: Axes, owners: Raster, image: Image.Image) -> None:
    """Draw lines between patches of different tokens. owners: [rows, columns]."""
    rows, columns = owners.shape
    high, wide = image.height / rows, image.width / columns
    # All at once: a call for each line takes minutes.
    row, column = np.nonzero(owners[1:] != owners[:-1])
    left, right = column * wide - 0.5, (column + 1) * wide - 0.5
    axes.hlines((row + 1) * high - 0.5, left, right, colors=_LINE, linewidth=0.8)
    row, column = np.nonzero(owners[:, 1:] != owners[:, :-1])
    top, bottom = row * high - 0.5, (row + 1) * high - 0.5
    axes.vlines((column + 1) * wide - 0.5, top, bottom, colors=_LINE, linewidth=0.8)


def layers_of_survivors(checkpoint: Checkpoint, target: float = 0.33) -> Figure:
    """Draw a row for each image and a column for each of some layers; what has left is faded."""
    count = checkpoint.engine.language.layer_count
    shown = sorted({round(share * (count - 1)) for share in (0, 0.2, 0.3, 0.4, 0.5)})
    figure, panels = plt.subplots(
        len(KINDS), len(shown), figsize=(2.6 * len(shown), 8.6), layout="constrained"
    )
    spu = SpuSettings(matched_ramp(count, target))
    for line, kind in zip(panels, KINDS, strict=True):
        image, question, _ = next(questions(kind, 1))
        tokens = checkpoint.encoder.encode(
            [checkpoint.encoder.prepare(png(image), "picture")], OimSettings()
        )
        places = survivors(checkpoint, tokens, question, spu)
        for axes, layer in zip(line, shown, strict=True):
            axes.imshow(_faded(image, tokens[0], places[layer]))
            axes.set_title(f"layer {layer}: {len(places[layer])} tokens", fontsize=10)
            axes.set_axis_off()
        line[0].set_axis_on()
        line[0].set(xticks=[], yticks=[])
        line[0].set_ylabel(f"{kind}\n{question}", fontsize=9, wrap=True)
    return figure


def _faded(image: Image.Image, tokens: VisionTokens, places: Tensor) -> Raster:
    """Fade the cells of tokens that are gone to a dull blue: uint8 [height, width, 3]."""
    grid = tokens.pieces[0].grid
    alive = np.zeros(tokens.token_count, dtype=np.uint8)
    alive[places.numpy()] = 255
    cells = Image.fromarray(alive[: grid.rows * grid.columns].reshape(grid.rows, grid.columns))
    mask = np.asarray(cells.resize(image.size, Image.Resampling.NEAREST))[..., None] > 0
    pixels = np.asarray(image.convert("RGB"))
    faded = 0.15 * pixels + 0.85 * np.array(_FADED)
    return np.where(mask, pixels, faded).astype(np.uint8)
