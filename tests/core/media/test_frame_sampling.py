"""Which frames of a clip a family looks at: the stock rules, without torchvision."""

import ast
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.video_utils import VideoMetadata, default_sample_indices_fn

from luvc_core.errors import InvalidSettings
from luvc_core.media.frame_sampling import EvenSampling, FrameSampling, RateSampling


def stock_function(module: str, function: str) -> Callable[..., Any]:
    """Return a function of a stock video processor, whose module imports torchvision."""
    spec = find_spec(f"transformers.models.{module}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    found = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    names: dict[str, Any] = {"torch": torch, "math": math, "VideoMetadata": VideoMetadata}
    exec(compile(ast.Module([found], []), module, "exec"), names)
    return names[function]  # type: ignore[no-any-return]


def stock(module: str) -> Callable[..., torch.Tensor]:
    return stock_function(module, "sample_frames")


def stock_indices(sampling: FrameSampling, metadata: VideoMetadata) -> list[int]:
    if isinstance(sampling, RateSampling):
        return stock("qwen2_vl.video_processing_qwen2_vl")(
            SimpleNamespace(num_frames=None), metadata, sampling.multiple, sampling.min_frames,
            sampling.max_frames, fps=sampling.rate,
        ).tolist()  # fmt: skip
    assert isinstance(sampling, EvenSampling)
    if sampling.middle:
        return stock("internvl.video_processing_internvl")(
            SimpleNamespace(), metadata, sampling.count, initial_shift=True
        ).tolist()
    return default_sample_indices_fn(metadata, num_frames=sampling.count).tolist()


@pytest.mark.parametrize("rate", [1.0, 8, 23.976, 29.97, 30, 60])
def test_rate_sampling_is_qwens(rate: float) -> None:
    function = stock("qwen2_vl.video_processing_qwen2_vl")
    for count in [*range(2, 130), 299, 300, 301, 1000, 17_999]:
        for sampling in (RateSampling(), RateSampling(1.0, 4, 32), RateSampling(0.5, 2, 6)):
            got = sampling.choose(count, rate)
            expected = function(
                SimpleNamespace(num_frames=None), VideoMetadata(count, rate), 2,
                sampling.min_frames, sampling.max_frames, fps=sampling.rate,
            )  # fmt: skip
            # The stock rule overshoots the clip's end at some lengths; its readers stop there.
            assert got == [i for i in expected.tolist() if i < count]
            assert len(got) % 2 == 0


@pytest.mark.parametrize("count", [1, 8, 32, 33])
def test_even_sampling_is_internvls_and_llava_onevisions(count: int) -> None:
    function = stock("internvl.video_processing_internvl")
    for total in [*range(count, count + 200), 1000, 17_999]:
        metadata = VideoMetadata(total, 30.0)
        middle = function(SimpleNamespace(), metadata, count, initial_shift=True)
        assert EvenSampling(count, middle=True).choose(total, 30.0) == middle.tolist()
        even = default_sample_indices_fn(metadata, num_frames=count)
        assert EvenSampling(count).choose(total, 30.0) == even.tolist()


@given(st.integers(1, 2000), st.floats(1e-3, 1e4), st.integers(1, 40), st.integers(1, 4))
def test_no_sampling_leaves_the_video(total: int, rate: float, count: int, multiple: int) -> None:
    by_rate = RateSampling(2.0, count + multiple, 2 * count + multiple, multiple)
    for sampling in (EvenSampling(count), EvenSampling(count, middle=True), by_rate):
        chosen = sampling.choose(total, rate)
        assert chosen
        assert chosen == sorted(chosen)
        assert 0 <= chosen[0] <= chosen[-1] < total
    assert len(chosen) % multiple == 0
    assert len(chosen) <= 2 * count + multiple


def test_short_videos_give_what_they_have() -> None:
    assert EvenSampling(32).choose(3, 8.0) == [0, 1, 2]
    assert EvenSampling(32, middle=True).choose(3, 8.0) == [0, 1, 2]
    assert RateSampling().choose(3, 8.0) == [0, 1]
    assert RateSampling().choose(1, 8.0) == [0, 0]


@pytest.mark.parametrize(
    "make",
    [lambda: EvenSampling(0), lambda: RateSampling(0.0), lambda: RateSampling(2, 8, 4),
     lambda: RateSampling(multiple=8)],
)  # fmt: skip
def test_samplings_are_checked(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidSettings, match="frames"):
        make()
