"""The low-pass filter of SPU, against a plain discrete Fourier transform."""

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luvc_core.compression.algorithms.frequency_scores import (
    hamming,
    low_pass,
    low_pass_by_transform,
)

torch.set_num_threads(1)
quick = settings(deadline=None, derandomize=True, max_examples=40)
cutoffs = st.floats(0.05, 1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain_low_pass(line: list[float], cutoff: float) -> list[float]:
    """By the definition of the transform, in Python numbers."""
    n = len(line)
    out = [0.0] * n
    for k in range(n):
        share = min(k, n - k) / (n / 2)
        if share > cutoff + 1e-6:
            continue
        gain = 0.54 + 0.46 * math.cos(math.pi * share / cutoff)
        wave = [cmath.exp(2j * math.pi * k * i / n) for i in range(n)]
        weight = sum(x * w.conjugate() for x, w in zip(line, wave, strict=True)) * gain / n
        out = [o + (weight * w).real for o, w in zip(out, wave, strict=True)]
    return out


def plain_columns(x: Tensor, cutoff: float) -> Tensor:
    """[length, dim], each channel by itself."""
    return torch.tensor([plain_low_pass(c, cutoff) for c in x.T.tolist()], dtype=x.dtype).T


@quick
@given(length=st.integers(1, 17), cutoff=cutoffs, seed=st.integers(0, 99))
def test_low_pass_equals_the_plain_transform(length, cutoff, seed):
    x = noise(length, 3, seed=seed)
    expected = plain_columns(x.double(), cutoff).float()
    torch.testing.assert_close(low_pass(x, cutoff, 0), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(low_pass(x.T, cutoff, 1).T, expected, rtol=1e-4, atol=1e-5)
    by_transform = low_pass_by_transform(x, cutoff, 0)
    torch.testing.assert_close(by_transform, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [255, 256, 257, 600])
def test_both_ways_of_filtering_agree_at_any_length(length):
    x = noise(2, length, 3)
    torch.testing.assert_close(
        low_pass(x, 0.3, 1), low_pass_by_transform(x, 0.3, 1), rtol=1e-4, atol=1e-5
    )


@quick
@given(cutoff=cutoffs)
def test_the_window_falls_from_one_to_the_hamming_edge(cutoff):
    shares = torch.tensor([0.0, cutoff / 2, cutoff, cutoff * 1.01])
    expected = torch.tensor([1, 0.54, 0.08, 0])
    torch.testing.assert_close(hamming(shares, cutoff), expected, rtol=1e-3, atol=1e-3)
