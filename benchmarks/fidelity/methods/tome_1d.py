"""ToMe (arXiv 2210.09461) in 1-D: bipartite merging along the flattened sequence, in the tower.

As many tokens leave as for an OIM of the same target, at OIM's blocks, with positions in the
source; but the grid is lost before the projector takes its blocks of neighbours from it.
"""

from benchmarks.common.merge_1d import merge_flat
from benchmarks.common.merging_override import merging_by
from benchmarks.fidelity.matching import smaller_grid
from benchmarks.fidelity.methods.base import Method
from benchmarks.fidelity.question import Question
from luvc_core.compression.settings import OimSettings
from luvc_core.visual_tokens.vision_tokens import VisionTokens

_BLOCKS = (0.25, 0.5)


class Tome1D(Method):
    """Merge in the tower along one line."""

    name = "tome-1d"

    def visual(self, question: Question, target: float) -> list[VisionTokens]:
        return question.once((self.name, target), lambda: _encoded(question, target))


def _encoded(question: Question, target: float) -> list[VisionTokens]:
    oim = merge_settings(question.plain[0], target)
    with merging_by(merge_flat):
        return question.checkpoint.encoder.encode(question.prepared, oim)


def merge_settings(tokens: VisionTokens, target: float) -> OimSettings:
    """Return the OIM that leaves about the share `target` of an image's or video's tokens."""
    grid = tokens.pieces[0].grid
    rows, columns = smaller_grid(grid.rows, grid.columns, target)
    least = 0.5 ** len(_BLOCKS)
    return OimSettings(
        keep_rows=max(least, rows / grid.rows),
        keep_columns=max(least, columns / grid.columns),
        blocks=_BLOCKS,
        llm_position="source",
    )
