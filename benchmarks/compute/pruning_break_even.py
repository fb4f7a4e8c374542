"""Find from how many visual tokens on pruning pays: prefills of small images with and without it.

`python -m benchmarks.compute.pruning_break_even` runs the embedded checkpoint's language model on
images of 4 to 256 visual tokens of noise, `lossless` and no pruning in turns, and takes medians of
the processor time of one thread. The table also shows what the engine's own rule
(`luvc_core.engine.pruning_cost`) says; its constants were chosen from these figures. Writes
`results/small_prompts.json`.
"""

import statistics
import sys
import time

import torch

from benchmarks.common import report
from luvc_core.chat import Message
from luvc_core.compression.profiles import profile
from luvc_core.engine.prefill import prefill
from luvc_core.engine.pruning_cost import pruning_pays_off
from luvc_core.models.base import LanguageHalf
from luvc_core.models.registry import load_language
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, VisionTokens

MODEL = "luvc-tiny-qwen2vl"
SIDES = (2, 3, 4, 5, 6, 8, 12, 16)
SPU = profile("lossless").spu


def noise(language: LanguageHalf, side: int) -> VisionTokens:
    """Make an image of side x side visual tokens of noise."""
    grid = Grid(1, side, side)
    count, identity = grid.token_count, language.identity
    line = torch.arange(side)
    places = torch.cartesian_prod(torch.zeros(1, dtype=torch.long), line, line)
    embeddings = torch.randn(count, identity.hidden_size, generator=torch.manual_seed(side))
    return VisionTokens(
        embeddings, (Piece(grid, grid),), places.float(), torch.ones(count), identity, ""
    )


def measure(language: LanguageHalf, side: int, turns: int) -> dict[str, object]:
    """Measure prefills of one image with pruning and without.

    Args:
        language: the half.
        side: of the image, in visual tokens.
        turns: of both; one more before them only warms up.

    Returns:
        Medians in milliseconds, and what the engine's rule says.
    """
    assert SPU is not None
    prompt = language.tokenize((Message("user", (noise(language, side), "What is this?")),))
    took: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(turns + 1):
        for pruned, times in took.items():
            start = time.process_time()
            prefill(language, prompt, SPU if pruned else None, lambda: None)
            times.append(time.process_time() - start)
    plain, pruned_ms = (1000 * statistics.median(took[p][1:]) for p in (False, True))
    return {
        "visual_tokens": side**2,
        "off_ms": round(plain, 3),
        "pruned_ms": round(pruned_ms, 3),
        "rule_says_pays": pruning_pays_off(language, prompt, SPU),
    }


@torch.inference_mode()
def main() -> int:
    """Measure, print and write; return the exit status."""
    torch.set_num_threads(1)
    language = load_language(MODEL, "cpu")
    rows = [measure(language, side, turns=21) for side in SIDES]
    print(report.table(list(rows[0]), [list(row.values()) for row in rows]))
    report.write("small_prompts", {"machine": report.machine(), "model": MODEL, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
