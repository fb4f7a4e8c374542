"""From the bytes of pictures and clips to visual tokens."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from luvc_core.compression.detail import detail_of
from luvc_core.compression.settings import OimSettings
from luvc_core.errors import InvalidMedia
from luvc_core.media.decode_video import decode_video, kind_of
from luvc_core.media.images import MediaLimits, decode_image
from luvc_core.models.base import Patches, VisionHalf
from luvc_core.store.keys import Recipe
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import VisionTokens


class MediaEncoder:
    """Decodes pictures and clips on any thread, encodes them on one. Keeps nothing of them."""

    def __init__(self, vision: VisionHalf, limits: MediaLimits | None = None) -> None:
        self.vision = vision
        self.limits = limits or MediaLimits()

    @property
    def recipe(self) -> Recipe:
        """What the tokens of media depend on, the media and their merging apart."""
        limits = self.limits
        return Recipe(
            self.identity,
            str(self.vision.dtype),
            (limits.max_shown_frames, limits.max_video_kept_bytes),
        )

    @property
    def identity(self) -> Identity:
        return self.vision.identity

    def prepare(
        self,
        data: bytes,
        field: str,
        alone: bool = True,
        check: Callable[[], None] = lambda: None,
    ) -> Patches:
        """Decode, resize and cut one picture or clip. Safe to call from several threads.

        `field` names it in errors. alone: as in VisionHalf.preprocess. check: called between the
        frames of a clip, and may raise to end the work. Raises InvalidMedia.
        """
        if kind_of(data) == "image":
            image = decode_image(data, field, self.limits)
            return replace(self.vision.preprocess(image, alone), detail=detail_of(image))
        if self.vision.sampling is None:
            allowed = f"pictures: {self.identity.family} takes no clips"
            raise InvalidMedia(field, "a clip", allowed)
        sampling = self.vision.sampling.at_most(self.limits.max_shown_frames)
        return self.vision.preprocess_video(decode_video(data, field, self.limits, sampling, check))

    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        """Visual tokens of each picture or clip, in order. Not from two threads at once."""
        found = self.vision.encode(patches, oim)
        return [replace(t, detail=p.detail) for t, p in zip(found, patches, strict=True)]
