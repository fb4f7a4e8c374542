"""Frozen settings of both compression stages, merging and pruning; validated when made."""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from luvc_core.compression.algorithms import schedules
from luvc_core.compression.algorithms.frequency_scores import (
    FilterAxis,
    FrequencyScoring,
    HoleFilling,
    ScoreKind,
)
from luvc_core.compression.algorithms.merging import LineAlignment, MergedPosition
from luvc_core.compression.algorithms.schedules import RampShape
from luvc_core.errors import InvalidSettings

# Sharp steps on a line of pixels. Of the images that `benchmarks.tasks` renders, 99 of 100 charts
# and documents have more, and 99 of 100 scenes fewer.
FINE_DETAIL = 3.5


def _check(ok: bool, field: str, value: object, allowed: str) -> None:
    if not ok:
        raise InvalidSettings(field, f"got {value}", allowed)


def _one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    _check(value in allowed, field, repr(value), ", ".join(allowed))


def _check_choices(where: str, settings: object) -> None:
    """Check every field whose type is a Literal or bool."""
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if kind is bool:
            _check(isinstance(value, bool), f"{where}.{name}", repr(value), "true, false")
        elif get_origin(kind) is Literal:
            _one_of(f"{where}.{name}", value, get_args(kind))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class OimSettings:
    """Settings of OIM, the Orthogonal Iterative Merger. Fields as in luvc.v1.OimSettings.

    Attributes:
        keep_rows: share of the rows to keep.
        keep_columns: share of the columns to keep.
        blocks: after which blocks of the tower tokens merge, as shares of its depth.
        metric: what similarity is measured on, attention keys or hidden states.
        window: how many tokens apart the two of a pair may be; 0 for no limit.
        alignment: whether each line chooses its pairs, or all lines of a frame choose alike.
        position: of a merged token, the mean of its tokens or that of the one that stays.
        llm_position: positions that the LLM uses, of the merged grid or of the source grid.
        proportional_attention: whether a merged token weighs in the tower's attention as much as
            the tokens that it stands for.
    """

    keep_rows: float = 1.0
    keep_columns: float = 1.0
    blocks: tuple[float, ...] = (0.25, 0.5)
    metric: Literal["keys", "hidden"] = "keys"
    window: int = 0
    alignment: LineAlignment = "per_line"
    position: MergedPosition = "mean"
    llm_position: Literal["grid", "source"] = "grid"
    proportional_attention: bool = False

    def __post_init__(self) -> None:
        blocks = self.blocks
        inside = isinstance(blocks, tuple) and all(_is_number(b) and 0 <= b < 1 for b in blocks)
        _check(
            inside and bool(blocks) and all(a < b for a, b in itertools.pairwise(blocks)),
            "oim.blocks",
            blocks,
            "shares of the depth in [0, 1), strictly increasing, at least one",
        )
        least = 0.5 ** len(blocks)
        for name in ("keep_rows", "keep_columns"):
            value = getattr(self, name)
            _check(
                _is_number(value) and least <= value <= 1,
                f"oim.{name}",
                value,
                f"[{least:g}, 1], as each of the {len(blocks)} oim.blocks at most halves a side",
            )
        _check(_is_count(self.window) and self.window >= 0, "oim.window", self.window, ">= 0")
        _check_choices("oim", self)

    @property
    def is_off(self) -> bool:
        """Whether nothing merges."""
        return self.keep_rows == 1 and self.keep_columns == 1

    @property
    def sha256(self) -> str:
        """Digest of the settings, the same for all settings that merge nothing."""
        settings = None if self.is_off else dataclasses.asdict(self)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Ramp:
    """A schedule by a few numbers, for any depth. Fields as in luvc.v1.ScheduleRamp.

    `schedules.ramp_shares` says what they mean.
    """

    start: float = 0.0
    end: float = 1.0
    shape: RampShape = "linear"
    every: int = 1
    first_keep: float = 1.0
    steps: int = schedules.DEFAULT_STEPS

    def __post_init__(self) -> None:
        start, end, first = self.start, self.end, self.first_keep
        _check(_is_number(start) and 0 <= start < 1, "spu.ramp.start", start, "[0, 1)")
        _check(_is_number(end) and start < end <= 1, "spu.ramp.end", end, f"({start:g}, 1]")
        _check_choices("spu.ramp", self)
        for name, count in (("every", self.every), ("steps", self.steps)):
            _check(_is_count(count) and count >= 1, f"spu.ramp.{name}", count, ">= 1")
        _check(_is_number(first) and 0 < first <= 1, "spu.ramp.first_keep", first, "(0, 1]")
        _check(
            self.shape != "step" or first == 1,
            "spu.ramp.first_keep",
            first,
            "1 with the shape step, where the first pruning keeps nothing",
        )


@dataclass(frozen=True)
class Keep:
    """A schedule layer by layer: the share of visual tokens that enters each layer."""

    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        s = self.shares
        inside = isinstance(s, tuple) and all(_is_number(x) and 0 <= x <= 1 for x in s)
        _check(
            inside and bool(s) and s[-1] == 0 and all(a >= b for a, b in itertools.pairwise(s)),
            "spu.keep.shares",
            s,
            "one share in [0, 1] a layer, non-increasing, the last one 0",
        )


@dataclass(frozen=True)
class SpuSettings:
    """Settings of SPU, the Spectrum Pruning Unit. Fields as in luvc.v1.SpuSettings.

    Attributes:
        schedule: how many tokens enter each layer.
        score: as in `FrequencyScoring`, like the next four.
        cutoff: see `score`.
        axis: see `score`.
        sampling: see `score`.
        normalize: see `score`.
        proportional_attention: whether survivors represent pruned tokens in the LLM's attention.
    """

    schedule: Ramp | Keep
    score: ScoreKind = "high_pass"
    cutoff: float = 0.5
    axis: FilterAxis = "grid"
    sampling: HoleFilling = "filled"
    normalize: bool = True
    proportional_attention: bool = True

    def __post_init__(self) -> None:
        schedule, cutoff = self.schedule, self.cutoff
        _check(isinstance(schedule, Ramp | Keep), "spu.schedule", schedule, "ramp or keep")
        _check(_is_number(cutoff) and 0 < cutoff <= 1, "spu.cutoff", cutoff, "(0, 1]")
        _check_choices("spu", self)

    @property
    def scoring(self) -> FrequencyScoring:
        """How tokens are scored, for the algorithm."""
        return FrequencyScoring(self.score, self.cutoff, self.axis, self.sampling, self.normalize)

    @property
    def first_share(self) -> float:
        """The share of the visual tokens that enters the first layer, whatever the depth."""
        if isinstance(self.schedule, Keep):
            return self.schedule.shares[0]
        # A ramp's layers between the first and the last depend on the depth, these two do not.
        return schedules.ramp_shares(2, **dataclasses.asdict(self.schedule))[0]

    def layer_counts(self, layer_count: int, token_count: int) -> tuple[int, ...]:
        """Count how many of an image's `token_count` visual tokens enter each layer of the LLM.

        Raises InvalidSettings when a layer-by-layer schedule is for another depth.
        """
        if isinstance(self.schedule, Ramp):
            shares = schedules.ramp_shares(layer_count, **dataclasses.asdict(self.schedule))
        else:
            shares = self.schedule.shares
        _check(
            len(shares) == layer_count,
            "spu.keep.shares",
            f"{len(shares)} shares, but the model has {layer_count} layers",
            f"{layer_count} shares",
        )
        return schedules.token_counts(shares, token_count)


@dataclass(frozen=True)
class Compression:
    """The compression of one request: merging and pruning.

    Attributes:
        name: shown in usage.
        oim: merging, in the vision tower.
        spu: pruning, in the LLM; None for none.
        detailed: pruning in the place of `spu` for requests with an image of fine detail.
    """

    name: str = "custom"
    oim: OimSettings = OimSettings()
    spu: SpuSettings | None = None
    detailed: SpuSettings | None = None

    def spu_for(self, details: Iterable[float]) -> SpuSettings | None:
        """Choose the pruning of a request. details: of its images, as `VisionTokens` has them."""
        if self.detailed and max(details, default=0.0) > FINE_DETAIL:
            return self.detailed
        return self.spu
