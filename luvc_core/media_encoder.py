"""Encode images and videos, given as the bytes of their files, into visual tokens."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from luvc_core.compression.detail import detail_of
from luvc_core.compression.settings import OimSettings
from luvc_core.errors import InvalidMedia
from luvc_core.media.decode_video import decode_video, media_kind_of
from luvc_core.media.images import MediaLimits, decode_image
from luvc_core.models.base import Patches, VisionHalf
from luvc_core.store.keys import Recipe
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import VisionTokens


class MediaEncoder:
    """Decodes images and videos on any thread and encodes them on one. Keeps nothing of them.

    Attributes:
        vision: the vision half that encodes.
        limits: what media may be at most.
    """

    def __init__(self, vision: VisionHalf, limits: MediaLimits | None = None) -> None:
        self.vision = vision
        self.limits = limits or MediaLimits()

    @property
    def recipe(self) -> Recipe:
        """All that visual tokens depend on besides the media and their merging."""
        limits = self.limits
        return Recipe(
            self.identity,
            str(self.vision.dtype),
            (limits.max_shown_frames, limits.max_video_kept_bytes),
        )

    @property
    def identity(self) -> Identity:
        """Which model makes the tokens."""
        return self.vision.identity

    def prepare(
        self,
        data: bytes,
        field: str,
        alone: bool = True,
        check: Callable[[], None] = lambda: None,
    ) -> Patches:
        """Decode, resize and cut one image or video. Safe to call from several threads.

        Args:
            data: the file.
            field: names the file in errors.
            alone: as in VisionHalf.preprocess.
            check: called between the frames of a video; may raise to end the work.

        Raises:
            InvalidMedia: for a file that cannot be decoded within the limits, or a video where the
                family takes none.
        """
        if media_kind_of(data) == "image":
            image = decode_image(data, field, self.limits)
            return replace(self.vision.preprocess(image, alone), detail=detail_of(image))
        if self.vision.sampling is None:
            allowed = f"pictures: {self.identity.family} takes no clips"
            raise InvalidMedia(field, "a clip", allowed)
        sampling = self.vision.sampling.at_most(self.limits.max_shown_frames)
        return self.vision.preprocess_video(decode_video(data, field, self.limits, sampling, check))

    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        """Return the visual tokens of each image or video, in order. Not thread-safe."""
        encoded = self.vision.encode(patches, oim)
        return [replace(t, detail=p.detail) for t, p in zip(encoded, patches, strict=True)]
