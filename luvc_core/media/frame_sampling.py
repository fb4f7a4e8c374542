"""Which frames of a clip a family looks at: the rules of the stock video processors.

All count frames, not seconds, as the stock ones do: frames are spread evenly over the clip's frames
even where its rate varies. No rule asks for more frames than there are, where the stock ones raise.
"""

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import torch

from luvc_core.errors import InvalidSettings


class FrameSampling(Protocol):
    """A family's choice of frames."""

    def choose(self, frame_count: int, rate: float) -> list[int]:
        """Indices of frames, ascending, at least one. rate: of the clip, in frames/s, above 0."""

    def at_most(self, frame_count: int) -> "FrameSampling":
        """The same rule, choosing no more than so many, or as few as it can."""


@dataclass(frozen=True)
class RateSampling:
    """So many frames a second (Qwen2-VL). The number chosen divides by `multiple`.

    A clip of fewer frames than `multiple` repeats its last one.
    """

    rate: float = 2.0
    min_frames: int = 4
    max_frames: int = 768
    multiple: int = 2

    def __post_init__(self) -> None:
        _check_positive("rate", self.rate)
        _check_positive("multiple", self.multiple)
        if not self.multiple <= self.min_frames <= self.max_frames:
            got = f"got {self.min_frames} to {self.max_frames}"
            raise InvalidSettings("frames", got, f"{self.multiple} <= min_frames <= max_frames")

    def choose(self, frame_count: int, rate: float) -> list[int]:
        if frame_count < self.multiple:
            last = frame_count - 1
            return [*range(frame_count), *[last] * (self.multiple - frame_count)]
        most = min(self.max_frames, frame_count)
        wanted = min(max(frame_count / rate * self.rate, self.min_frames), most)
        return _spread(frame_count, int(wanted // self.multiple) * self.multiple, 0.0)

    def at_most(self, frame_count: int) -> "RateSampling":
        most = max(self.multiple, min(frame_count, self.max_frames))
        return dataclasses.replace(self, max_frames=most, min_frames=min(self.min_frames, most))


@dataclass(frozen=True)
class EvenSampling:
    """At most `count` frames: the first of as many equal stretches (LLaVA-OneVision).

    `middle` takes the middle of each stretch instead (InternVL).
    """

    count: int = 32
    middle: bool = False

    def __post_init__(self) -> None:
        _check_positive("count", self.count)

    def choose(self, frame_count: int, rate: float) -> list[int]:
        count = min(self.count, frame_count)
        if self.middle:
            return _spread(frame_count, count, frame_count / count / 2)
        return [index * frame_count // count for index in range(count)]

    def at_most(self, frame_count: int) -> "EvenSampling":
        return dataclasses.replace(self, count=min(self.count, frame_count))


def _spread(frame_count: int, count: int, start: float) -> list[int]:
    # torch's float32 rounding decides at ties, so this is what the stock processors call. Its last
    # element may be one too many, which is no frame.
    return torch.arange(start, frame_count, frame_count / count).int().tolist()[:count]


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InvalidSettings(f"frames.{name}", f"got {value}", "above 0")
