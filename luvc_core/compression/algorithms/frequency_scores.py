"""SPU, the Spectrum Pruning Unit: which visual tokens stay, scored by a filter over their places.

Reads hidden states only: no attention weights, so any attention kernel will do. Filters them in
their own element type, as moving them is what takes the time; squares add up in float32. Low-pass
energy follows "Towards Lossless Ultimate Vision Token Compression for VLMs" (arXiv 2512.09010);
high-pass energy scores what departs from that smooth part.
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Score = Literal["low_pass", "high_pass", "norm", "random"]
Axis = Literal["raster", "grid", "channels"]
Sampling = Literal["filled", "index"]

# Up to this length the filter as a matrix beats the transform: 4 times on a CPU at 32 x 64.
_LONGEST_MATRIX = 256


def energy(
    hidden: Tensor,
    places: Tensor,
    grid: tuple[int, int, int],
    *,
    score: Score = "high_pass",
    cutoff: float = 0.5,
    axis: Axis = "grid",
    sampling: Sampling = "filled",
    normalize: bool = True,
) -> Tensor:
    """How much each visual token of one picture deserves to stay: float32 [tokens].

    hidden: [tokens, dim], the tokens still there, in raster order. places: int64 [tokens], their
    raster places in `grid`, ascending. grid: (frames, rows, columns) before any pruning.
    cutoff: share of the Nyquist frequency, in (0, 1].

    low_pass: squared L2 norm of the filtered token. high_pass: that of what the filter takes away.
    norm: that of the token itself, never normalised, or all would be equal. random: noise that
    depends on the number of tokens alone.

    axis raster: all places as one line. grid: rows and columns of each frame. channels: each token
    by itself. sampling filled: pruned places hold the mean of the survivors (of their frame, for
    the grid). index: after the first pruning, survivors as one line, side by side, for both axes.
    """
    count, dim = hidden.shape
    if score == "random":
        noise = torch.rand(count, generator=torch.Generator().manual_seed(count))
        return noise.to(hidden.device)
    if score == "norm":
        return squared_length(hidden)
    values = hidden
    if normalize:
        values = values * (squared_length(values)[:, None] / dim + 1e-6).rsqrt().to(values.dtype)
    if axis == "channels":
        return _band_energy(values, low_pass(values, cutoff, 1), score)

    whole = count == math.prod(grid)
    if sampling == "index" and not whole:
        return _band_energy(values, low_pass(values, cutoff, 0), score)
    frames, rows, columns = grid
    lines = frames if axis == "grid" else 1
    if not whole:
        values = _filled(values, places, lines, math.prod(grid))
    if axis == "grid":
        values = values.view(frames, rows, columns, dim)
        smooth = low_pass(low_pass(values, cutoff, 2), cutoff, 1)
    else:
        smooth = low_pass(values, cutoff, 0)
    scores = _band_energy(values, smooth, score).flatten()
    return scores if whole else scores[places]


def low_pass(x: Tensor, cutoff: float, dim: int) -> Tensor:
    """x without its frequencies above `cutoff` along `dim`, which is taken as periodic.

    The window is half a Hamming window: 1 at frequency 0, falling to 0.08 at the cutoff, 0 above.
    Applied along two dimensions in turn, the windows multiply.
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
    """Column i is what the filter makes of a unit impulse at place i."""
    return low_pass_by_transform(torch.eye(length, device=device), cutoff, 0).to(dtype)


def low_pass_by_transform(x: Tensor, cutoff: float, dim: int) -> Tensor:
    """`low_pass` by Fourier transform, at any length."""
    length = x.shape[dim]
    window = hamming(torch.fft.rfftfreq(length, d=0.5, device=x.device), cutoff)
    shape = [1] * x.ndim
    shape[dim] = -1
    # There is no transform of bfloat16.
    spectrum = torch.fft.rfft(x.float(), dim=dim) * window.view(shape)
    smooth: Tensor = torch.fft.irfft(spectrum, n=length, dim=dim)
    return smooth.to(x.dtype)


def hamming(frequency: Tensor, cutoff: float) -> Tensor:
    """The window's gain at frequencies given as shares of Nyquist. Any shape."""
    taper = 0.54 + 0.46 * torch.cos(math.pi * frequency / cutoff)
    # Frequencies are ratios of whole numbers: a cutoff on one of them must not miss it.
    return torch.where(frequency <= cutoff + 1e-6, taper, 0.0)


def squared_length(x: Tensor) -> Tensor:
    """[..., dim] -> float32 [...]. Reads x once; its squares are never written anywhere, which is
    most of what scoring a large model's tokens takes."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32)
    return length.square()


def keep_top(energy: Tensor, count: int) -> Tensor:
    """Indices of the `count` highest, ascending; among equals the earlier. int64 [count]"""
    order = energy.argsort(descending=True, stable=True)
    return order[:count].sort().values


def _band_energy(values: Tensor, smooth: Tensor, score: Score) -> Tensor:
    """[..., dim] -> [...]"""
    return squared_length(smooth if score == "low_pass" else values - smooth)


def _filled(values: Tensor, places: Tensor, lines: int, size: int) -> Tensor:
    """[tokens, dim] put at `places` of [size, dim]; holes hold the mean of their line's survivors.

    lines: into how many equal lines the places divide. A line without survivors is all zero.
    """
    length = size // lines
    member = places // length == torch.arange(lines, device=places.device)[:, None]
    # Shares before the product: a sum may be more than float16 can hold.
    shares = member / member.sum(dim=1, keepdim=True).clamp(min=1)
    means = shares.to(values.dtype) @ values
    return means.repeat_interleave(length, dim=0).index_copy_(0, places, values)
