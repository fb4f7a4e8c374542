"""OIM, the Orthogonal Iterative Merger: rows and columns of a token grid merge in turn.

One step works along one axis: every line (a row, or a column) is split into even tokens A and odd
tokens B; each A finds its most similar B in the same line, and the best of these pairs merge. Every
line loses equally many tokens and keeps its order, so the grid stays a grid. Follows "Towards
Lossless Ultimate Vision Token Compression for VLMs" (arXiv 2512.09010), with the bipartite matching
of "Token Merging" (arXiv 2210.09461).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from luvc_core.compression.algorithms.token_grid import TokenGrid

Alignment = Literal["per_line", "shared"]
Position = Literal["mean", "kept"]

# Similarities closer than this are ties. Far above float32 noise, so that flat areas are decided
# by place alone: equally on every device and in every batch.
_SIMILARITY_STEPS = 1 << 16


@dataclass(frozen=True)
class Pairs:
    """Which tokens of each line merge into which: decided once, applied to several tensors.

    All are int64 places within a line. removed: [frames, lines, pairs], even. into: [frames, lines,
    pairs], odd; several may go into one. kept: [frames, lines, tokens - pairs], ascending.
    """

    removed: Tensor
    into: Tensor
    kept: Tensor

    def merge(self, x: Tensor, sizes: Tensor) -> Tensor:
        """Size-weighted mean. x: [frames, lines, tokens, dim] -> [..., tokens - pairs, dim].

        sizes: [frames, lines, tokens], those before this merge. A token that nothing merges into
        keeps its bits, and so does one that its equals merge into.
        """
        share = sizes.gather(2, self.removed) / self.merge_sizes(sizes).gather(2, self._slot)
        # Once, not for each of the takes: half of the calls come with a transposed grid.
        x = x.contiguous()
        difference = _take(x, self.removed).float() - _take(x, self.into).float()
        # A matrix product rather than scatter_add, whose order of summation varies on CUDA.
        spread = difference.new_zeros(*self.kept.shape, self.removed.shape[2])
        spread.scatter_(2, self._slot.unsqueeze(2), share.unsqueeze(2))
        return _take(x, self.kept).float().add_(spread @ difference).to(x.dtype)

    def merge_sizes(self, sizes: Tensor) -> Tensor:
        """[frames, lines, tokens] -> [frames, lines, tokens - pairs], the sums."""
        # Whole numbers, so that the order of summation does not matter.
        return sizes.gather(2, self.kept).scatter_add(2, self._slot, sizes.gather(2, self.removed))

    @property
    def _slot(self) -> Tensor:
        """Place of `into` among those kept."""
        return torch.searchsorted(self.kept, self.into)


def choose_pairs(metric: Tensor, pairs: int, window: int = 0, shared: bool = False) -> Pairs:
    """The `pairs` most similar pairs of every line.

    metric: [frames, lines, tokens, dim], compared by cosine. window: the most places apart, 0 for
    no limit. shared: one choice for all lines of a frame, from their mean similarity. Ties go to
    the nearer B, then the one behind; among equal pairs the choice spreads evenly over the line.
    Raises ValueError unless 0 <= pairs <= tokens - max(1, tokens // 2).
    """
    frames, lines, tokens, _ = metric.shape
    if not 0 <= pairs <= tokens - smallest_side(tokens):
        raise ValueError(f"cannot merge {pairs} pairs in lines of {tokens} tokens")
    device = metric.device
    if pairs == 0:
        none = torch.zeros(frames, lines, 0, dtype=torch.int64, device=device)
        return Pairs(none, none, torch.arange(tokens, device=device).expand(frames, lines, -1))
    unit = torch.nn.functional.normalize(metric.float(), dim=-1)
    similarity = unit[:, :, 0::2] @ unit[:, :, 1::2].transpose(2, 3)
    if shared:
        similarity = similarity.mean(dim=1, keepdim=True)
    steps = (similarity * _SIMILARITY_STEPS).round().long()

    even = torch.arange(0, tokens, 2, device=device)
    odd = torch.arange(1, tokens, 2, device=device)
    apart = odd - even.unsqueeze(1)
    farness = apart.abs() + (apart < 0).long()
    # Integers in which a lower place only ever decides between equal higher ones.
    ranked = steps * (2 * tokens) - farness
    if window:
        ranked = ranked.masked_fill(apart.abs() > window, torch.iinfo(torch.int64).min)
    partner = ranked.argmax(dim=3)
    best = steps.gather(3, partner.unsqueeze(3)).squeeze(3)
    chosen = (best * len(even) - _spread_ranks(len(even)).to(device)).argsort(2, descending=True)
    chosen = chosen[:, :, :pairs]
    into = odd[partner.gather(2, chosen)]
    removed = even[chosen]
    gone = torch.zeros(*removed.shape[:2], tokens, dtype=torch.int64, device=device)
    kept = gone.scatter(2, removed, 1).argsort(dim=2, stable=True)[:, :, : tokens - pairs]
    return Pairs(*(t.expand(frames, lines, -1).contiguous() for t in (removed, into, kept)))


def merge_grid(
    state: TokenGrid,
    target_rows: int,
    target_columns: int,
    metric: Tensor,
    *,
    window: int = 0,
    alignment: Alignment = "per_line",
    position: Position = "mean",
) -> TokenGrid:
    """Merge to the target grid, laterally (within rows) and longitudinally in turn.

    metric: [frames, rows, columns, metric dim], what similarity is measured on. Where a side has
    to shrink by more than half, it takes several turns. A target equal to the present grid gives
    back `state` itself. Raises ValueError when the target is empty or larger than the grid.
    """
    for name, target, side in (
        ("rows", target_rows, state.rows),
        ("columns", target_columns, state.columns),
    ):
        if not 1 <= target <= side:
            raise ValueError(f"cannot merge {side} {name} to {target}")
    shared = alignment == "shared"
    while (state.rows, state.columns) != (target_rows, target_columns):
        target = max(target_columns, smallest_side(state.columns))
        state, metric = _merge_columns(state, target, metric, window, shared, position)
        target = max(target_rows, smallest_side(state.rows))
        turned, metric = _merge_columns(
            state.transposed(), target, metric.transpose(1, 2), window, shared, position
        )
        state, metric = turned.transposed(), metric.transpose(1, 2)
    return state


def plan_targets(
    rows: int,
    columns: int,
    keep_rows: float,
    keep_columns: float,
    steps: int,
    multiple: int,
) -> list[tuple[int, int]]:
    """The grid (rows, columns) after each of `steps` merge blocks.

    keep_rows, keep_columns: shares in (0, 1] of each side to keep. A share of 1 leaves its side
    alone. Otherwise the final side is the multiple of `multiple` (what the projector takes)
    nearest to the share, the larger of two; at least one multiple, and no less than half a side
    for every block. A side shorter than `multiple` stays. The blocks shrink a side by about the
    same factor each, and none by more than half.
    """
    row_plan = _plan_side(rows, keep_rows, steps, multiple)
    column_plan = _plan_side(columns, keep_columns, steps, multiple)
    return list(zip(row_plan, column_plan, strict=True))


def smallest_side(side: int) -> int:
    """What one step can leave of a line of that length: its odd tokens."""
    return max(1, side // 2)


def _merge_columns(
    state: TokenGrid, target: int, metric: Tensor, window: int, shared: bool, position: Position
) -> tuple[TokenGrid, Tensor]:
    """Shorten every row to `target` columns. Returns the state and the merged metric."""
    if target == state.columns:
        return state, metric
    pairs = choose_pairs(metric, state.columns - target, window, shared)
    positions = (
        _take(state.positions, pairs.kept)
        if position == "kept"
        else pairs.merge(state.positions, state.sizes)
    )
    hidden = pairs.merge(state.hidden, state.sizes)
    merged = TokenGrid(hidden, pairs.merge_sizes(state.sizes), positions)
    return merged, pairs.merge(metric, state.sizes)


def _plan_side(side: int, keep: float, steps: int, multiple: int) -> list[int]:
    if keep >= 1 or side < multiple:
        return [side] * steps
    nearest = int(side * keep / multiple + 0.5)
    reachable = -(-(side >> steps) // multiple)
    final = max(nearest, reachable, 1) * multiple
    final = min(final, side // multiple * multiple)
    plan, length = [], side
    for left in range(steps, 0, -1):
        even_factor = round(length * (final / length) ** (1 / left))
        # Longer than this, the steps after this one could no longer reach the final side.
        longest = ((final + 1) << (left - 1)) - 1
        length = min(max(even_factor, smallest_side(length), final), longest, length)
        plan.append(length)
    return plan


def _take(x: Tensor, places: Tensor) -> Tensor:
    """x: [frames, lines, tokens, dim] at places [frames, lines, n] -> [frames, lines, n, dim]"""
    # Whole tokens at a time: several times faster on a CPU than to gather their elements.
    frames, lines, tokens, dim = x.shape
    start = torch.arange(frames * lines, device=x.device).view(frames, lines, 1) * tokens
    return x.flatten(0, 2).index_select(0, (places + start).flatten()).view(*places.shape, dim)


def _spread_ranks(count: int) -> Tensor:
    """A permutation of range(count) whose first ranks lie far apart: bits in reverse order."""
    bits = max(1, (count - 1).bit_length())
    reverse = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(count)]
    return torch.tensor(reverse).argsort().argsort()
