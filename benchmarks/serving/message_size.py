"""Count tokens and bytes of a video between the halves, before and after merging to a quarter.

`make bench-wire`, or `python -m benchmarks.serving.message_size`. The message is the one that the
encoder sends, made by the families' own `encode` and luvc_core.wire, for the reference videos of
models of 7 to 8 billion parameters. The towers are narrow and random, since only the number of
tokens and their width matter here. Writes `results/wire.json`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from benchmarks.common import report
from benchmarks.common.random_vision_half import Geometry, build
from encoder_service.config import EncoderConfig
from luvc_core.compression.settings import OimSettings
from luvc_core.models.base import Patches
from luvc_core.runtime.service_config import MIB
from luvc_core.visual_tokens.vision_tokens import VideoFrames, VisionTokens
from luvc_core.wire.vision_tokens import write_vision_tokens

MERGED = OimSettings(keep_rows=0.5, keep_columns=0.5)


@dataclass(frozen=True)
class Video:
    """A video of so many frames as it is shown to a tower."""

    model: str
    shown: str
    frames: int
    tower: Geometry


def small_tower(family: str, side: int, frames: int, hidden: int, multiple: int = 2) -> Geometry:
    """Return a tower of two blocks and one head: what it computes does not matter.

    Args:
        family: whose tower it is.
        side: patches along each side of a frame.
        frames: as the tower sees them.
        hidden: width of the LLM.
        multiple: what the projector needs the sides to be a multiple of.
    """
    return Geometry(family, 2, 32, 64, 1, side, frames, multiple=multiple, hidden=hidden)


VIDEOS = (
    Video("InternVL2.5-8B", "32 frames of 448x448", 32, small_tower("internvl", 32, 32, 4096)),
    Video(
        "LLaVA-OneVision-7B", "32 frames of 384x384", 32,
        small_tower("llava_onevision", 27, 32, 3584, multiple=1),
    ),
    Video(
        "Qwen2-VL-7B",
        "32 frames of 448x448, in pairs",
        32,
        small_tower("qwen2_vl", 32, 16, 3584),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A video's tokens and the bytes of their message, without and with merging.

    Attributes:
        source_fits: whether a service takes the message by default, without merging.
        merged_fits: the same, with merging.
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
    """Encode a video of noise by the family's own `encode`, to bfloat16."""
    half, patches = build(video.tower)
    noise = Patches(patches.pixels, patches.grid, video=VideoFrames(video.frames, 0.5))
    (tokens,) = half.encode([noise], oim)
    return replace(tokens, embeddings=tokens.embeddings.to(torch.bfloat16))


def measure(video: Video, oim: OimSettings) -> Row:
    """Measure one video, with `oim` against no merging."""
    limit = EncoderConfig().max_message_bytes
    before, after = tokens_of(video, OimSettings()), tokens_of(video, oim)
    size, merged_size = (len(write_vision_tokens(t).SerializeToString()) for t in (before, after))
    return Row(
        video.tower.family, video.model, video.shown, video.tower.hidden,
        before.token_count, after.token_count, size, merged_size,
        source_fits=size <= limit, merged_fits=merged_size <= limit,
    )  # fmt: skip


def show(rows: Sequence[Row]) -> None:
    """Print a line for each video."""
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
    """Measure, print and write; return the exit status."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = [measure(video, MERGED) for video in VIDEOS]
    show(rows)
    content: Mapping[str, object] = {"dtype": "bfloat16", "rows": [asdict(row) for row in rows]}
    report.write("wire", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
