"""Tokens and bytes of a video between the halves, before and after OIM at 4 times fewer tokens.

`make bench-wire`, or `python -m benchmarks.wire`. The message is the one that the encoder sends,
made by its own codec, for the reference videos of models of 7 to 8 billion parameters. What the
embeddings say is random: only their number matters here. Writes `results/wire.json`.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks import report
from encoder_service.codec import tokens_to
from encoder_service.config import MIB, EncoderConfig
from luvc_core.algorithms.blocks import project_blocks
from luvc_core.algorithms.canvas import shrink
from luvc_core.algorithms.merging import TokenGrid, merge_grid, plan_targets
from luvc_core.config import OimSettings
from luvc_core.tokens import Grid, Identity, Piece, VisionTokens

DIGEST = "0" * 64
MERGED = OimSettings(keep_rows=0.5, keep_columns=0.5)


@dataclass(frozen=True)
class Video:
    """A clip as the tower sees it. grid: of its patches. hidden: of the LLM.

    pooled: each frame is pooled 2x2 after the projector and a newline ends the clip, where the
    others have a projector that takes 2x2 blocks.
    """

    family: str
    model: str
    shown: str
    grid: Grid
    hidden: int
    pooled: bool = False


VIDEOS = (
    Video("internvl", "InternVL2.5-8B", "32 frames of 448x448", Grid(32, 32, 32), 4096),
    Video(
        "llava_onevision", "LLaVA-OneVision-7B", "32 frames of 384x384", Grid(32, 27, 27), 3584,
        pooled=True,
    ),
    Video("qwen2_vl", "Qwen2-VL-7B", "32 frames of 448x448, in pairs", Grid(16, 32, 32), 3584),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A video's tokens and the bytes of their message, without and with merging.

    fits: whether that is within what a service takes for one message by default.
    """

    family: str
    model: str
    shown: str
    hidden: int
    source_tokens: int
    merged_tokens: int
    source_bytes: int
    merged_bytes: int
    source_fits: bool
    merged_fits: bool


def tokens_of(video: Video, oim: OimSettings) -> VisionTokens:
    """What the encoder's `encode` gives for a video, on the same grids, with random embeddings."""
    grid, side = video.grid, 1 if video.pooled else 2
    # Four values a token, as they only decide which tokens merge.
    noise = torch.Generator().manual_seed(0)
    values = torch.randn(grid.frames, grid.rows, grid.columns, 4, generator=noise)
    targets = plan_targets(
        grid.rows, grid.columns, oim.keep_rows, oim.keep_columns, len(oim.blocks), side
    )
    state = merge_grid(TokenGrid.of_source(values), *targets[-1], values)
    source = Grid(grid.frames, math.ceil(grid.rows / 2), math.ceil(grid.columns / 2))
    if video.pooled:
        target = math.ceil(state.rows / 2), math.ceil(state.columns / 2)
        smaller = source.rows, source.columns
        state = shrink(state, target, (grid.rows, grid.columns), smaller)
    else:
        state = project_blocks(
            state, side, (source.rows, source.columns), lambda blocks: blocks.mean(2)
        )
    return _packed(state, video, source, oim)


def _packed(state: TokenGrid, video: Video, source: Grid, oim: OimSettings) -> VisionTokens:
    """state: of visual tokens, one frame for each of the tower's."""
    frames, rows, columns = state.sizes.shape
    frame = torch.arange(frames).float().view(-1, 1, 1, 1).expand(-1, rows, columns, 1)
    places = torch.cat((frame, state.positions), dim=-1).flatten(0, 2)
    sizes = state.sizes.flatten()
    if video.pooled:
        end = torch.tensor([[frames - 1, source.rows - 1, source.columns]])
        places, sizes = torch.cat((places, end)), torch.cat((sizes, torch.zeros(1)))
    return VisionTokens(
        embeddings=_embeddings(len(sizes), video.hidden),
        pieces=(Piece(Grid(frames, rows, columns), source, "piece" if video.pooled else "none"),),
        positions=places,
        sizes=sizes,
        identity=Identity(video.family, DIGEST, DIGEST, DIGEST, DIGEST, video.hidden),
        merge_sha256=oim.sha256,
    )


def _embeddings(tokens: int, hidden: int) -> Tensor:
    noise = torch.Generator().manual_seed(0)
    return torch.randn(tokens, hidden, generator=noise).to(torch.bfloat16)


def measure(video: Video, oim: OimSettings) -> Row:
    """The row of one video, with `oim` against no merging."""
    limit = EncoderConfig().max_message_bytes
    before, after = tokens_of(video, OimSettings()), tokens_of(video, oim)
    size, merged_size = (len(tokens_to(t).SerializeToString()) for t in (before, after))
    return Row(
        video.family, video.model, video.shown, video.hidden,
        before.token_count, after.token_count, size, merged_size,
        source_fits=size <= limit, merged_fits=merged_size <= limit,
    )  # fmt: skip


def show(rows: Sequence[Row]) -> None:
    """A line for each video."""
    header = ("model", "video", "hidden", "tokens", "after OIM", "MiB", "after OIM", "bytes kept")
    lines = [
        (r.model, r.shown, r.hidden, r.source_tokens, r.merged_tokens,
         f"{r.source_bytes / MIB:.2f}{'' if r.source_fits else ' *'}",
         f"{r.merged_bytes / MIB:.2f}{'' if r.merged_fits else ' *'}",
         f"{r.merged_bytes / r.source_bytes:.1%}")
        for r in rows
    ]  # fmt: skip
    print(report.table(header, lines))
    if not all(r.source_fits and r.merged_fits for r in rows):
        limit = EncoderConfig().max_message_bytes // MIB
        print(f"* more than the {limit} MiB that a service takes in one message by default")


def main() -> int:
    """Measure, print and write; returns the exit status."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = [measure(video, MERGED) for video in VIDEOS]
    show(rows)
    content: Mapping[str, object] = {"dtype": "bfloat16", "rows": [asdict(row) for row in rows]}
    report.write("wire", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
