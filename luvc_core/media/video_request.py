"""What a clip becomes, and what its two decoders share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from luvc_core.errors import InvalidMedia
from luvc_core.media.frame_sampling import FrameSampling
from luvc_core.media.images import MediaLimits, check_size


@dataclass(frozen=True)
class Video:
    """The chosen frames of a clip, upright RGB, all of one size, in order; at least one.

    timestamps: seconds from the clip's first frame to each of `frames`. frame_count, duration
    (seconds) and rate (frames/s, on average) are the whole clip's.
    """

    frames: tuple[Image.Image, ...]
    timestamps: tuple[float, ...]
    frame_count: int
    duration: float
    rate: float

    @property
    def interval(self) -> float:
        """Mean seconds from one of `frames` to the next, by the clip's rate."""
        return self.frame_count / self.rate / len(self.frames)


@dataclass(frozen=True)
class VideoRequest:
    """A file to decode as a video: `field` names it in errors, `check` raises to stop the work."""

    data: bytes
    field: str
    limits: MediaLimits
    sampling: FrameSampling
    check: Callable[[], None]

    def check_frame(self, sides: tuple[int, int]) -> None:
        """Before any pixel of such a frame is decoded. Raises InvalidMedia."""
        check_size(sides, self.field, self.limits, self.limits.max_video_pixels)

    def check_length(self, frame_count: int, seconds: float) -> None:
        """For the lengths a header claims and for those counted. Raises InvalidMedia."""
        if frame_count > self.limits.max_video_frames:
            allowed = f"at most {self.limits.max_video_frames} frames"
            raise InvalidMedia(self.field, f"{frame_count} frames", allowed)
        if not seconds <= self.limits.max_video_seconds:
            allowed = f"at most {self.limits.max_video_seconds} s"
            raise InvalidMedia(self.field, f"a clip of {seconds:.3g} s", allowed)

    def check_work(self, frame_count: int, sides: tuple[int, int]) -> None:
        """Before so many frames of these sides are decoded. Raises InvalidMedia."""
        work = 3 * frame_count * sides[0] * sides[1]
        if work > self.limits.max_video_decoded_bytes:
            problem = f"{frame_count} frames of {sides[0]}x{sides[1]} pixels, {work} bytes decoded"
            allowed = f"at most {self.limits.max_video_decoded_bytes} bytes"
            raise InvalidMedia(self.field, problem, allowed)

    def keeper(self, count: int) -> Callable[[Image.Image], Image.Image]:
        """Makes each of `count` frames as small as they must be to fit in memory together."""
        most = self.limits.max_video_kept_bytes / (3 * count)

        def keep(image: Image.Image) -> Image.Image:
            if image.width * image.height <= most:
                return image
            scale = math.sqrt(most / (image.width * image.height))
            sides = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
            return image.resize(sides, Image.Resampling.BICUBIC, reducing_gap=2.0)

        return keep

    def damaged(self, problem: str | Exception) -> InvalidMedia:
        problem = getattr(problem, "strerror", None) or problem
        return InvalidMedia(self.field, f"truncated or damaged: {problem}", "a whole clip")

    def gather(
        self, chosen: Sequence[int], kept: dict[int, Image.Image], starts: Sequence[float],
        duration: float, rate: float,
    ) -> Video:  # fmt: skip
        """The clip of the `chosen` frames, `kept` by index; one may be chosen twice.

        starts: seconds at which each frame of the file shows. Raises InvalidMedia.
        """
        missing = sum(index not in kept for index in set(chosen))
        if missing:
            raise self.damaged(f"{missing} of {len(set(chosen))} frames cannot be decoded")
        sizes = {image.size for image in kept.values()}
        if len(sizes) > 1:
            listed = " and ".join(f"{w}x{h}" for w, h in sorted(sizes)[:2])
            raise InvalidMedia(self.field, f"frames of {listed} pixels", "frames of one size")
        return Video(
            frames=tuple(kept[index] for index in chosen),
            timestamps=tuple(starts[index] - starts[0] for index in chosen),
            frame_count=len(starts),
            duration=duration,
            rate=rate,
        )
