"""Choose the frames of a video that a family looks at, by the rules of stock video processors.

As the stock rules do, they count frames, not seconds: the chosen frames are spread evenly over the
frames of the video even where its rate varies. No rule asks for more frames than the video has,
where the stock rules raise an error.
"""

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import torch

from luvc_core.errors import InvalidSettings


class FrameSampling(Protocol):
    """A family's choice of frames."""

    def choose(self, frame_count: int, rate: float) -> list[int]:
        """Return the indices of the chosen frames, ascending; at least one.

        Args:
            frame_count: number of frames of the video, at least 1.
            rate: its frames per second, above 0.
        """

    def at_most(self, frame_count: int) -> "FrameSampling":
        """Return the same rule, choosing at most `frame_count` frames, or as few as it can."""


@dataclass(frozen=True)
class RateSampling(FrameSampling):
    """A number of frames per second (Qwen2-VL), rounded down to a multiple of `multiple`.

    A video of fewer frames than `multiple` repeats its last frame.

    Attributes:
        rate: frames per second.
        min_frames: least number of frames, where the video has as many.
        max_frames: greatest number of frames.
        multiple: frames that the tower joins to one patch.
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
        max_frames = min(self.max_frames, frame_count)
        wanted = min(max(frame_count / rate * self.rate, self.min_frames), max_frames)
        return _spread(frame_count, int(wanted // self.multiple) * self.multiple, 0.0)

    def at_most(self, frame_count: int) -> "RateSampling":
        max_frames = max(self.multiple, min(frame_count, self.max_frames))
        min_frames = min(self.min_frames, max_frames)
        return dataclasses.replace(self, min_frames=min_frames, max_frames=max_frames)


@dataclass(frozen=True)
class EvenSampling(FrameSampling):
    """At most `count` frames, one from each of as many equal stretches of the video.

    Attributes:
        count: greatest number of frames.
        middle: whether to take the middle frame of each stretch (InternVL) rather than its first
            (LLaVA-OneVision).
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
    # The stock processors call this too: torch's float32 rounding decides at ties. It may return
    # one element too many, past the last frame.
    return torch.arange(start, frame_count, frame_count / count).int().tolist()[:count]


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InvalidSettings(f"frames.{name}", f"got {value}", "above 0")
