"""List the ablations: each some variants of one choice, at equal layer-averaged tokens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.fidelity.matching import smaller_grid
from benchmarks.fidelity.methods import METHODS, Method
from benchmarks.fidelity.methods.luvc import matched_ramp
from benchmarks.fidelity.methods.settings import Matched
from benchmarks.fidelity.methods.variants import Variant
from benchmarks.fidelity.question import Question
from luvc_core.compression.algorithms.schedule_budget import matched_first_keep
from luvc_core.compression.settings import Compression, Keep, OimSettings, Ramp, SpuSettings

_CUTOFFS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Ablation:
    """One choice and its variants.

    Attributes:
        asks: what it decides.
        default: the variant that stands for the present default.
    """

    asks: str
    variants: tuple[Method, ...]
    default: str
    reductions: tuple[float, ...] = (0.75,)


def pruned(question: Question, target: float, **changes: Any) -> Compression:
    """Return SPU with our ramp at the target.

    Args:
        question: whose layers count.
        target: share of the source tokens in the average layer.
        changes: other fields of SpuSettings.
    """
    return Compression(spu=SpuSettings(matched_ramp(question.layer_count, target), **changes))


def ramped(question: Question, target: float, **ramp: Any) -> Compression:
    """Return SPU with a ramp whose first layer keeps what meets the target.

    Args:
        question: whose layers count.
        target: share of the source tokens in the average layer.
        ramp: fields of Ramp.
    """
    shape = Ramp(**ramp)
    layers = question.layer_count
    assert shape.shape != "step"
    first = matched_first_keep(
        layers, shape.start, shape.end, target, shape.shape, shape.every, shape.steps
    )
    return Compression(spu=SpuSettings(replace(shape, first_keep=first)))


def shot(question: Question, target: float, start: float) -> Compression:
    """Prune once at a share of the depth; what it leaves goes before the last layer.

    Args:
        question: whose layers count.
        target: share of the source tokens in the average layer.
        start: share of the depth.
    """
    layers = question.layer_count
    first = min(round(start * layers), int(target * layers))
    keep = (target * layers - first) / (layers - 1 - first)
    shares = (1.0,) * first + (keep,) * (layers - 1 - first) + (0.0,)
    return Compression(spu=SpuSettings(Keep(shares)))


def merged(question: Question, target: float, **changes: Any) -> Compression:
    """Return OIM alone.

    Args:
        question: whose grid is merged.
        target: share of the source tokens.
        changes: other fields of OimSettings.
    """
    grid = question.plain[0].pieces[0].grid
    rows, columns = smaller_grid(grid.rows, grid.columns, target)
    blocks = changes.pop("blocks", (0.5, 0.8))
    least = 0.5 ** len(blocks)
    return Compression(
        oim=OimSettings(
            keep_rows=max(least, rows / grid.rows),
            keep_columns=max(least, columns / grid.columns),
            blocks=blocks,
            **{"llm_position": "source", **changes},
        )
    )


def split(question: Question, target: float, oim_share: float) -> Compression:
    """Return both: OIM leaves a share of the tokens, SPU what of those meets the target.

    Args:
        question: whose layers count.
        target: share of the source tokens in the average layer.
        oim_share: share of the source tokens that OIM leaves.
    """
    oim = merged(question, oim_share).oim if oim_share < 1 else OimSettings()
    left = target / (oim.keep_rows * oim.keep_columns)
    return Compression(oim=oim, spu=SpuSettings(matched_ramp(question.layer_count, left)))


def of(name: str, settle: Callable[..., Compression], **changes: Any) -> Method:
    """Build a variant. It travels to other processes, which a closure could not.

    Args:
        name: of the variant.
        settle: makes the compression from a question and a target.
        changes: passed on to it.
    """
    return Matched(name, partial(settle, **changes))


ABLATIONS: Mapping[str, Ablation] = {
    "cutoff": Ablation(
        "the cutoff over its range, for both signs of the filter",
        tuple(
            of(f"{score} {cutoff}", pruned, score=score, cutoff=cutoff)
            for score in ("high_pass", "low_pass")
            for cutoff in _CUTOFFS
        ),
        "high_pass 0.5",
    ),
    "axis": Ablation(
        "along what the filter runs",
        (
            *(of(axis, pruned, axis=axis) for axis in ("grid", "raster", "channels")),
            Variant("frame raster", "frame"),
            Variant("volume", "volume"),
        ),
        "grid",
    ),
    "score": Ablation(
        "which energy stays",
        tuple(of(s, pruned, score=s) for s in ("high_pass", "low_pass", "norm", "random")),
        "high_pass",
        (0.5, 0.75, 0.9),
    ),
    "normalize": Ablation(
        "normalised or raw hidden states",
        tuple(
            of(f"{score} {'normalised' if on else 'raw'}", pruned, score=score, normalize=on)
            for score in ("high_pass", "low_pass")
            for on in (True, False)
        ),
        "high_pass normalised",
    ),
    "sampling": Ablation(
        "holes filled, or survivors side by side",
        tuple(of(s, pruned, sampling=s) for s in ("filled", "index")),
        "filled",
    ),
    "first-layer": Ablation(
        "from which share of the depth on tokens leave",
        tuple(of(f"{s}", ramped, start=s, end=1.0) for s in (0.0, 0.1, 0.2, 0.3, 0.4)),
        "0.1",
        (0.5,),
    ),
    "shape": Ablation(
        "a cascade or one shot, and the cascade's shape",
        (
            *(of(shape, ramped, start=0.1, end=0.8, shape=shape) for shape in ("linear", "cosine")),
            of("a step each 3 layers", ramped, start=0.1, end=0.8, every=3),
            of("4 steps", ramped, start=0.1, end=0.8, steps=4),
            of("one shot at 0.1", shot, start=0.1),
            of("one shot at 0.2", shot, start=0.2),
            METHODS["vtw"],
        ),
        "linear",
        (0.5, 0.75),
    ),
    "weight": Ablation(
        "whether those that stay weigh for those that left",
        (
            of("proportional", pruned),
            of("own weight", pruned, proportional_attention=False),
            of("low_pass proportional", pruned, score="low_pass"),
            of("low_pass own weight", pruned, score="low_pass", proportional_attention=False),
        ),
        "proportional",
        (0.5, 0.75, 0.9),
    ),
    "positions": Ablation(
        "original or renumbered positions in the LLM",
        (Variant("original"), Variant("renumbered", renumbered=True)),
        "original",
        (0.5, 0.75),
    ),
    "oim": Ablation(
        "how the tower merges",
        (
            of("default", merged),
            of("shared", merged, alignment="shared"),
            of("hidden metric", merged, metric="hidden"),
            of("window 3", merged, window=3),
            of("position kept", merged, position="kept"),
            of("positions of a smaller grid", merged, llm_position="grid"),
            of("proportional attention", merged, proportional_attention=True),
            of("blocks 0.25 0.5", merged, blocks=(0.25, 0.5)),
            of("blocks 0.8 0.9", merged, blocks=(0.8, 0.9)),
            METHODS["tome-1d"],
            METHODS["pooling"],
            METHODS["downsampling"],
        ),
        "default",
        (0.5, 0.75),
    ),
    "split": Ablation(
        "how a fixed total is divided between OIM and SPU",
        tuple(of(f"OIM leaves {s:.0%}", split, oim_share=s) for s in (1.0, 0.75, 0.5, 0.34)),
        "OIM leaves 100%",
    ),
}
