"""A video to decode, the decoded video, and the checks that both decoders share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from luvc_core.errors import InvalidMedia
from luvc_core.media.frame_sampling import FrameSampling
from luvc_core.media.images import MediaLimits, check_size


@dataclass(frozen=True)
class Video:
    """The chosen frames of a video.

    Attributes:
        frames: upright RGB images of one size, in order; at least one.
        timestamps: seconds from the video's first frame to each of `frames`.
        frame_count: number of frames of the whole video.
        duration: seconds of the whole video.
        rate: frames per second of the whole video, on average.
    """

    frames: tuple[Image.Image, ...]
    timestamps: tuple[float, ...]
    frame_count: int
    duration: float
    rate: float

    @property
    def interval(self) -> float:
        """Mean seconds from one of `frames` to the next, by the video's rate."""
        return self.frame_count / self.rate / len(self.frames)


@dataclass(frozen=True)
class VideoRequest:
    """A file to decode as a video.

    Attributes:
        data: the file.
        field: names the file in errors.
        limits: what it may be at most.
        sampling: the family's choice of frames.
        check: called at least once a frame; raises to end the work.
    """

    data: bytes
    field: str
    limits: MediaLimits
    sampling: FrameSampling
    check: Callable[[], None]

    def check_frame(self, sides: tuple[int, int]) -> None:
        """Raise InvalidMedia if a frame of this width and height must not be decoded."""
        check_size(sides, self.field, self.limits, self.limits.max_video_pixels)

    def check_length(self, frame_count: int, seconds: float) -> None:
        """Raise InvalidMedia if a length, claimed by the header or counted, is over the limits."""
        if frame_count > self.limits.max_video_frames:
            allowed = f"at most {self.limits.max_video_frames} frames"
            raise InvalidMedia(self.field, f"{frame_count} frames", allowed)
        if not seconds <= self.limits.max_video_seconds:
            allowed = f"at most {self.limits.max_video_seconds} s"
            raise InvalidMedia(self.field, f"a clip of {seconds:.3g} s", allowed)

    def check_work(self, frame_count: int, sides: tuple[int, int]) -> None:
        """Raise InvalidMedia if decoding that many frames of this size is too much work."""
        work = 3 * frame_count * sides[0] * sides[1]
        if work > self.limits.max_video_decoded_bytes:
            problem = f"{frame_count} frames of {sides[0]}x{sides[1]} pixels, {work} bytes decoded"
            allowed = f"at most {self.limits.max_video_decoded_bytes} bytes"
            raise InvalidMedia(self.field, problem, allowed)

    def frame_shrinker(self, count: int) -> Callable[[Image.Image], Image.Image]:
        """Return a function that shrinks a frame so that `count` frames fit in memory together."""
        max_pixels = self.limits.max_video_kept_bytes / (3 * count)

        def shrink(image: Image.Image) -> Image.Image:
            if image.width * image.height <= max_pixels:
                return image
            scale = math.sqrt(max_pixels / (image.width * image.height))
            sides = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
            return image.resize(sides, Image.Resampling.BICUBIC, reducing_gap=2.0)

        return shrink

    def damaged_error(self, problem: str | Exception) -> InvalidMedia:
        """Return the error that says why the file is not a whole video."""
        problem = getattr(problem, "strerror", None) or problem
        return InvalidMedia(self.field, f"truncated or damaged: {problem}", "a whole clip")

    def gather(
        self, chosen: Sequence[int], kept: dict[int, Image.Image], starts: Sequence[float],
        duration: float, rate: float,
    ) -> Video:  # fmt: skip
        """Return the video of the chosen frames.

        Args:
            chosen: indices of frames, in order; a frame may be chosen twice.
            kept: the decoded frames by index.
            starts: seconds at which each frame of the file shows.
            duration: seconds of the whole video.
            rate: frames per second of the whole video.

        Raises:
            InvalidMedia: where a chosen frame is missing, or frames differ in size.
        """
        missing = sum(index not in kept for index in set(chosen))
        if missing:
            raise self.damaged_error(f"{missing} of {len(set(chosen))} frames cannot be decoded")
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
