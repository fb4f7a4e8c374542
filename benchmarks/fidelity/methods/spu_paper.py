"""SPU as the paper reads (arXiv 2512.09010): low-pass energy along the raster, a linear cascade.

The cascade goes from the first layer to none at the last; the share of its first layer follows the
target.
"""

import dataclasses

from benchmarks.fidelity.methods.base import Method
from benchmarks.fidelity.question import Question
from luvc_core.compression.algorithms.schedule_budget import matched_first_keep
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import Ramp, SpuSettings


class SpuPaper(Method):
    """Prune by the paper's settings."""

    name = "spu-paper"

    def pruner(self, question: Question, target: float) -> SpuSettings:
        spu = PROFILES["spu-paper"].spu
        assert spu is not None
        assert isinstance(spu.schedule, Ramp)
        first = matched_first_keep(question.layer_count, 0.0, 1.0, target, steps=spu.schedule.steps)
        return dataclasses.replace(
            spu, schedule=dataclasses.replace(spu.schedule, first_keep=first)
        )
