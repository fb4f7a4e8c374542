"""OIM, the Orthogonal Iterative Merger: rows and columns of a token grid merge in turn.

One step works along one axis. In every line (a row, or a column) the even tokens are src and the
odd ones dst, the two sides of a bipartite graph. Each src token finds its most similar dst token in
the same line, and the best of these pairs merge. Every line loses equally many tokens and keeps its
order, so the grid stays a grid. Follows "Towards Lossless Ultimate Vision Token Compression for
VLMs" (arXiv 2512.09010), with the bipartite matching of "Token Merging" (arXiv 2210.09461).

An example: two pairs of one line of six tokens. Cosines decide: token 0 points in the direction of
1, and 2 in that of 3, while 4 lies between its neighbours.

>>> line = torch.tensor([[1, 0], [3, 0], [0, 1], [0, 2], [1, 1], [4, 0]]).float()
>>> x, sizes = line.view(1, 1, 6, 2), torch.ones(1, 1, 6)  # one frame of one line
>>> pairs = choose_pairs(metric=x, pairs=2)
>>> pairs.src.tolist(), pairs.dst.tolist(), pairs.kept.tolist()
([[[0, 2]]], [[[1, 3]]], [[[1, 3, 4, 5]]])
>>> pairs.merge(x, sizes)[0, 0].tolist()  # the means of 0 with 1, and of 2 with 3
[[2.0, 0.0], [0.0, 1.5], [1.0, 1.0], [4.0, 0.0]]
>>> pairs.merge_sizes(sizes).tolist()
[[[2.0, 2.0, 1.0, 1.0]]]
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from luvc_core.compression.algorithms.token_grid import TokenGrid

LineAlignment = Literal["per_line", "shared"]
MergedPosition = Literal["mean", "kept"]

# Similarities closer than this are ties. Far above float32 noise, so that flat areas are decided
# by position alone: equally on every device and in every batch.
_SIMILARITY_STEPS = 1 << 16


@dataclass(frozen=True)
class Pairs:
    """The pairs of tokens that merge in each line: decided once, applied to several tensors.

    Attributes:
        src: int64 [frames, lines, pairs], even indices within a line, of tokens that leave.
        dst: int64 [frames, lines, pairs], odd indices, of the token that each src token merges
            into; several may merge into one.
        kept: int64 [frames, lines, tokens - pairs], ascending indices of all that stay.
    """

    src: Tensor
    dst: Tensor
    kept: Tensor

    def merge(self, x: Tensor, sizes: Tensor) -> Tensor:
        """Replace each dst token by the size-weighted mean of itself and its src tokens.

        A token that nothing merges into keeps its bits, and so does one that its equals merge into.

        Args:
            x: [frames, lines, tokens, dim].
            sizes: [frames, lines, tokens], how many source tokens each held before this merge.

        Returns:
            [frames, lines, tokens - pairs, dim].
        """
        share = sizes.gather(2, self.src) / self.merge_sizes(sizes).gather(2, self._slot)
        # Copied once here, not in each `_take`: half of the calls come with a transposed grid.
        x = x.contiguous()
        difference = _take(x, self.src).float() - _take(x, self.dst).float()
        # A matrix product rather than scatter_add, whose order of summation varies on CUDA.
        spread = difference.new_zeros(*self.kept.shape, self.src.shape[2])
        spread.scatter_(2, self._slot.unsqueeze(2), share.unsqueeze(2))
        return _take(x, self.kept).float().add_(spread @ difference).to(x.dtype)

    def merge_sizes(self, sizes: Tensor) -> Tensor:
        """Add src sizes to dst sizes: [frames, lines, tokens] -> [..., tokens - pairs]."""
        # Whole numbers, so that the order of summation does not matter.
        return sizes.gather(2, self.kept).scatter_add(2, self._slot, sizes.gather(2, self.src))

    @property
    def _slot(self) -> Tensor:
        """Index of `dst` among those kept."""
        return torch.searchsorted(self.kept, self.dst)


def choose_pairs(metric: Tensor, pairs: int, window: int = 0, shared: bool = False) -> Pairs:
    """Choose the `pairs` most similar pairs of every line.

    Ties go to the nearer dst token, then to the one behind; among equal pairs the choice spreads
    evenly over the line.

    Args:
        metric: [frames, lines, tokens, dim], compared by cosine.
        pairs: how many to merge in every line.
        window: how many tokens apart the two of a pair may be; 0 for no limit.
        shared: one choice for all lines of a frame, from their mean similarity.

    Raises:
        ValueError: unless 0 <= pairs <= tokens - max(1, tokens // 2).
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
    # Integers whose lower digits decide only between equal higher ones.
    ranked = steps * (2 * tokens) - farness
    if window:
        ranked = ranked.masked_fill(apart.abs() > window, torch.iinfo(torch.int64).min)
    partner = ranked.argmax(dim=3)
    best = steps.gather(3, partner.unsqueeze(3)).squeeze(3)
    chosen = (best * len(even) - _spread_ranks(len(even)).to(device)).argsort(2, descending=True)
    chosen = chosen[:, :, :pairs]
    src, dst = even[chosen], odd[partner.gather(2, chosen)]
    gone = torch.zeros(*src.shape[:2], tokens, dtype=torch.int64, device=device)
    kept = gone.scatter(2, src, 1).argsort(dim=2, stable=True)[:, :, : tokens - pairs]
    return Pairs(*(t.expand(frames, lines, -1).contiguous() for t in (src, dst, kept)))


def merge_grid(
    state: TokenGrid,
    target_rows: int,
    target_columns: int,
    metric: Tensor,
    *,
    window: int = 0,
    alignment: LineAlignment = "per_line",
    position: MergedPosition = "mean",
) -> TokenGrid:
    """Merge to the target grid, laterally (within rows) and longitudinally in turn.

    Where a side has to shrink by more than half, it takes several turns.

    Args:
        state: the grid before.
        target_rows: rows of the grid after.
        target_columns: columns of the grid after.
        metric: [frames, rows, columns, metric dim], what similarity is measured on.
        window: how many tokens apart the two of a pair may be; 0 for no limit.
        alignment: per_line: each line chooses its pairs. shared: all lines of a frame choose alike.
        position: of a merged token. mean: the size-weighted mean of its tokens. kept: that of the
            dst token.

    Returns:
        The merged grid; `state` itself where the target is the grid that it has.

    Raises:
        ValueError: when the target is empty or larger than the grid.
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


def smallest_side(side: int) -> int:
    """Return how few tokens one step can leave of a line of that length: the odd ones."""
    return max(1, side // 2)


def _merge_columns(
    state: TokenGrid,
    target: int,
    metric: Tensor,
    window: int,
    shared: bool,
    position: MergedPosition,
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


def _take(x: Tensor, indices: Tensor) -> Tensor:
    """Take n tokens a line: [frames, lines, tokens, dim] at [frames, lines, n] of them."""
    # Whole tokens at a time: several times faster on a CPU than to gather their elements.
    frames, lines, tokens, dim = x.shape
    start = torch.arange(frames * lines, device=x.device).view(frames, lines, 1) * tokens
    return x.flatten(0, 2).index_select(0, (indices + start).flatten()).view(*indices.shape, dim)


def _spread_ranks(count: int) -> Tensor:
    """Permute range(count) so that the first ranks lie far apart: bits in reverse order."""
    bits = max(1, (count - 1).bit_length())
    reverse = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(count)]
    return torch.tensor(reverse).argsort().argsort()
