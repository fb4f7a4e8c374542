"""Bring every method to an equal number of visual tokens in the average layer.

A target is the share of the source tokens that the average layer is to hold, 1 - reduction. Layers
of other people's methods are named for models of 28 or 32 layers; here they stand at the same share
of the depth.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from luvc_core.compression.algorithms.schedule_budget import bisected
from luvc_core.compression.algorithms.schedules import layer_average

# At most this share of all token layers may be spent on layers that still hold all tokens.
_MOST_SPENT = 2 / 3
# What a stage must at least keep of the tokens of the one before, or stages begin earlier.
_LEAST_RATIO = 0.2


class Unreachable(ValueError):
    """A method cannot go so low on a model of so few layers."""


@dataclass(frozen=True)
class Stages:
    """When tokens leave, and how many stay.

    Attributes:
        starts: layers before which tokens leave, ascending.
        keeps: shares of the source tokens that enter the layers from there on; before the first,
            all do.
    """

    starts: tuple[int, ...]
    keeps: tuple[float, ...]

    def counts(self, layer_count: int, tokens: int) -> tuple[int, ...]:
        """Return how many of `tokens` enter each layer; half a token counts as one."""
        shares = [1.0] * layer_count
        for start, keep in zip(self.starts, self.keeps, strict=True):
            shares[start:] = [keep] * (layer_count - start)
        return tuple(min(tokens, math.floor(share * tokens + 0.5)) for share in shares)


def scaled(layer: int, of: int, layer_count: int) -> int:
    """Return a layer at the same share of another depth, at least 1.

    Args:
        layer: of a model of `of` layers.
        of: layers of that model.
        layer_count: layers of the other one.
    """
    return max(1, round(layer / of * layer_count))


def affordable(wanted: int, least: int, budget: float) -> int:
    """Return the first pruning layer: `wanted`, or an earlier one.

    It is earlier where the layers before `wanted` would take more than two thirds of the budget.

    Args:
        wanted: the layer that a method prefers.
        least: the earliest layer that it allows.
        budget: of whole layers.
    """
    return max(least, min(wanted, math.floor(_MOST_SPENT * budget)))


def one_shot(layer_count: int, wanted: int, least: int, target: float) -> Stages:
    """Prune once, at the first layer that is affordable.

    Args:
        layer_count: of the model.
        wanted: the layer that a method prefers.
        least: the earliest layer that it allows.
        target: share of the source tokens in the average layer.

    Raises:
        Unreachable: where the layers before hold more than the target.
    """
    budget = target * layer_count
    layer = affordable(wanted, least, budget)
    keep = (budget - layer) / (layer_count - layer)
    if keep < 0:
        raise Unreachable(f"{layer} of {layer_count} layers hold more than {target:.0%}")
    return Stages((layer,), (keep,))


def geometric(layer_count: int, starts: Sequence[int], target: float) -> Stages:
    """Return stages each of which keeps the same share of what the one before left.

    Args:
        layer_count: of the model.
        starts: the stages' layers.
        target: share of the source tokens in the average layer.
    """

    def stages(ratio: float) -> Stages:
        return Stages(tuple(starts), tuple(ratio ** (n + 1) for n in range(len(starts))))

    return solved(layer_count, stages, target)


def pyramid(layer_count: int, target: float) -> Stages:
    """Return PyramidDrop's three stages at the quarters of the depth.

    They come earlier where a stage would keep less than a fifth of the tokens before it.

    Raises:
        Unreachable: where no stages keep so little.
    """
    for gap in range(max(1, layer_count // 4), 0, -1):
        try:
            found = geometric(layer_count, (gap, 2 * gap, 3 * gap), target)
        except Unreachable:
            continue
        if found.keeps[0] >= _LEAST_RATIO or gap == 1:
            return found
    raise Unreachable(f"one of {layer_count} layers holds more than {target:.0%}")


def solved(layer_count: int, stages: Callable[[float], Stages], target: float) -> Stages:
    """Find the setting in [0, 1] at which the layer average of the stages is the target.

    Args:
        layer_count: of the model.
        stages: made of a setting; the average grows with it.
        target: share of the source tokens in the average layer.

    Raises:
        Unreachable: where even a setting of 0 keeps more.
    """

    def average(setting: float) -> float:
        return layer_average(stages(setting).counts(layer_count, _FINE)) / _FINE

    if average(0.0) > target + 1e-9:
        raise Unreachable(f"at least {average(0.0):.0%} of the tokens stay, not {target:.0%}")
    return stages(bisected(average, target))


def balanced_layer(layer_count: int, target: float, index: int) -> int:
    """Return a whole layer before which all tokens leave.

    It is one of the two next to the budget, dealt out over the questions so that their mean is the
    target.

    Args:
        layer_count: of the model.
        target: share of the source tokens in the average layer.
        index: of the question.
    """
    budget = target * layer_count
    part = budget - math.floor(budget)
    more = math.floor((index + 1) * part + 1e-9) - math.floor(index * part + 1e-9)
    return math.floor(budget) + more


def smaller_grid(rows: int, columns: int, target: float, ending: int = 0) -> tuple[int, int]:
    """Find the grid whose token count is nearest to the share `target`, in about the same shape.

    One stretched by a tenth costs as much as being off by a hundredth.

    Args:
        rows: of the grid.
        columns: of the grid.
        target: share of its tokens.
        ending: tokens at the end of each row that show no place.

    Returns:
        Rows and columns.
    """
    wanted = target * rows * (columns + ending)

    def cost(sides: tuple[int, int]) -> tuple[float, int]:
        r, c = sides
        stretched = abs(math.log((r / rows) / (c / columns)))
        return abs(r * (c + ending) - wanted) / wanted + 0.1 * stretched, r

    return min(((r, c) for r in range(1, rows + 1) for c in range(1, columns + 1)), key=cost)


_FINE = 1 << 20
