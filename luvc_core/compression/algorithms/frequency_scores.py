"""SPU, the Spectrum Pruning Unit: scores visual tokens by a frequency filter over their grid.

Reads hidden states only, never attention weights, so any attention kernel will do. Filters them in
their own element type, as moving them is what takes the time; squares add up in float32. Low-pass
scores follow "Towards Lossless Ultimate Vision Token Compression for VLMs" (arXiv 2512.09010);
high-pass scores measure what departs from that smooth part.

An example: a line of eight tokens of one channel, in which one differs from all others. The filter
keeps frequencies up to half of Nyquist and spreads the 9 over its neighbours; `high_pass` scores
the square of what the filter takes away, `low_pass` the square of what it leaves.

>>> hidden = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 1.0]).view(8, 1)
>>> [round(x, 2) for x in low_pass(hidden, cutoff=0.5, dim=0).flatten().tolist()]
[1.84, 1.24, 1.08, 1.24, 1.84, 2.76, 3.24, 2.76]
>>> scoring = FrequencyScoring("high_pass", cutoff=0.5, axis="raster", normalize=False)
>>> scores = token_scores(hidden, torch.arange(8), (1, 1, 8), scoring)
>>> [round(x, 2) for x in scores.tolist()]
[0.71, 0.06, 0.01, 0.06, 0.71, 3.11, 33.18, 3.11]
>>> top_indices(scores, 3).tolist()  # the token that differs, and both beside it
[5, 6, 7]
>>> rest = token_scores(hidden[5:], torch.arange(5, 8), (1, 1, 8), scoring)
>>> top_indices(rest, 1).tolist()  # holes hold the mean of the three, of which the second differs
[1]
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

ScoreKind = Literal["low_pass", "high_pass", "norm", "random"]
FilterAxis = Literal["raster", "grid", "channels"]
HoleFilling = Literal["filled", "index"]

# Up to this length the filter as a matrix beats the transform: 4 times on a CPU at 32 x 64.
_LONGEST_MATRIX = 256


@dataclass(frozen=True)
class FrequencyScoring:
    """Settings of the score; the fields are those of SpuSettings, which validates them.

    Attributes:
        score: what is measured of a token. low_pass: squared L2 norm of the filtered token.
            high_pass: that of what the filter takes away. norm: that of the token itself, never
            normalised, or all would be equal. random: noise that depends on the number of tokens
            alone.
        cutoff: share of the Nyquist frequency above which the filter takes away, in (0, 1].
        axis: what the filter runs along. raster: all tokens as one line. grid: rows and columns of
            each frame. channels: each token by itself.
        sampling: what stands where tokens were pruned. filled: the mean of the survivors (of their
            frame, for the grid). index: nothing; survivors form one line, for both axes.
        normalize: whether tokens are brought to the same root mean square first.
    """

    score: ScoreKind = "high_pass"
    cutoff: float = 0.5
    axis: FilterAxis = "grid"
    sampling: HoleFilling = "filled"
    normalize: bool = True


_DEFAULT = FrequencyScoring()


def token_scores(
    hidden: Tensor,
    indices: Tensor,
    grid: tuple[int, int, int],
    scoring: FrequencyScoring = _DEFAULT,
) -> Tensor:
    """Score how much each surviving visual token of one grid deserves to stay.

    Args:
        hidden: [survivors, dim], in raster order.
        indices: int64 [survivors], ascending, which tokens of `grid` they are.
        grid: (frames, rows, columns) before any pruning.
        scoring: what is measured, and along what.

    Returns:
        float32 [survivors], to be compared within the grid.
    """
    count, dim = hidden.shape
    if scoring.score == "random":
        noise = torch.rand(count, generator=torch.Generator().manual_seed(count))
        return noise.to(hidden.device)
    if scoring.score == "norm":
        return squared_length(hidden)
    values = hidden
    if scoring.normalize:
        values = values * (squared_length(values)[:, None] / dim + 1e-6).rsqrt().to(values.dtype)
    cutoff, axis = scoring.cutoff, scoring.axis
    if axis == "channels":
        return _band_scores(values, low_pass(values, cutoff, 1), scoring)

    whole = count == math.prod(grid)
    if scoring.sampling == "index" and not whole:
        return _band_scores(values, low_pass(values, cutoff, 0), scoring)
    frames, rows, columns = grid
    lines = frames if axis == "grid" else 1
    if not whole:
        values = _filled(values, indices, lines, math.prod(grid))
    if axis == "grid":
        values = values.view(frames, rows, columns, dim)
        smooth = low_pass(low_pass(values, cutoff, 2), cutoff, 1)
    else:
        smooth = low_pass(values, cutoff, 0)
    scores = _band_scores(values, smooth, scoring).flatten()
    return scores if whole else scores[indices]


def low_pass(x: Tensor, cutoff: float, dim: int) -> Tensor:
    """Remove the frequencies above `cutoff` along one dimension, taken as periodic.

    The window is half a Hamming window: 1 at frequency 0, falling to 0.08 at the cutoff, 0 above.
    Applied along two dimensions in turn, the windows multiply.

    Args:
        x: any shape, of any floating-point type.
        cutoff: share of the Nyquist frequency, in (0, 1].
        dim: not negative.
    """
    length = x.shape[dim]
    if length <= _LONGEST_MATRIX:
        matrix = _low_pass_matrix(length, cutoff, x.device, x.dtype)
        return (matrix @ x.flatten(dim + 1) if dim < x.ndim - 1 else x @ matrix.T).view(x.shape)
    return low_pass_by_transform(x, cutoff, dim)


# The same few sides come up in every layer of every request; 16 of them are 4 MiB at most.
@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _low_pass_matrix(
    length: int, cutoff: float, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Write the filter as a matrix: column i is its answer to a unit impulse at index i."""
    return low_pass_by_transform(torch.eye(length, device=device), cutoff, 0).to(dtype)


def low_pass_by_transform(x: Tensor, cutoff: float, dim: int) -> Tensor:
    """Do what `low_pass` does by Fourier transform, which is the faster way for long lines.

    Args:
        x: any shape, of any floating-point type.
        cutoff: share of the Nyquist frequency, in (0, 1].
        dim: not negative.
    """
    length = x.shape[dim]
    window = hamming(torch.fft.rfftfreq(length, d=0.5, device=x.device), cutoff)
    shape = [1] * x.ndim
    shape[dim] = -1
    # There is no transform of bfloat16.
    spectrum = torch.fft.rfft(x.float(), dim=dim) * window.view(shape)
    smooth: Tensor = torch.fft.irfft(spectrum, n=length, dim=dim)
    return smooth.to(x.dtype)


def hamming(frequency: Tensor, cutoff: float) -> Tensor:
    """Compute the window's gain at frequencies given as shares of Nyquist, of any shape."""
    taper = 0.54 + 0.46 * torch.cos(math.pi * frequency / cutoff)
    # Frequencies are ratios of whole numbers: a cutoff on one of them must not miss it.
    return torch.where(frequency <= cutoff + 1e-6, taper, 0.0)


def squared_length(x: Tensor) -> Tensor:
    """Compute squared L2 norms: [..., dim] -> float32 [...].

    Reads x once. Its squares are never written to memory: doing so takes most of the time of
    scoring a large model's tokens.
    """
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32)
    return length.square()


def top_indices(scores: Tensor, count: int) -> Tensor:
    """Choose the `count` highest scores, of equals the earlier: int64 [count], ascending."""
    order = scores.argsort(descending=True, stable=True)
    return order[:count].sort().values


def _band_scores(values: Tensor, smooth: Tensor, scoring: FrequencyScoring) -> Tensor:
    """Measure the band that the score asks for: [..., dim] -> float32 [...].

    Raises ValueError for a score that measures no band.
    """
    match scoring.score:
        case "low_pass":
            return squared_length(smooth)
        case "high_pass":
            return squared_length(values - smooth)
        case score:
            raise ValueError(f"{score!r} measures no band of frequencies")


def _filled(values: Tensor, indices: Tensor, lines: int, size: int) -> Tensor:
    """Put survivors at their indices of [size, dim], and the mean of their line into the holes.

    The grid divides into `lines` equal lines. A line without survivors is all zero.
    """
    length = size // lines
    member = indices // length == torch.arange(lines, device=indices.device)[:, None]
    # Shares before the product: a sum may be more than float16 can hold.
    shares = member / member.sum(dim=1, keepdim=True).clamp(min=1)
    means = shares.to(values.dtype) @ values
    return means.repeat_interleave(length, dim=0).index_copy_(0, indices, values)
