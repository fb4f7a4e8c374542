"""From the bytes of pictures to visual tokens."""

from collections.abc import Sequence

from luvc_core.config import OimSettings
from luvc_core.media.images import MediaLimits, decode_image
from luvc_core.models.base import Patches, VisionHalf
from luvc_core.tokens import Identity, VisionTokens


class Encoder:
    """Decodes pictures on any thread, encodes them on one. Keeps nothing of them."""

    def __init__(self, vision: VisionHalf, limits: MediaLimits | None = None) -> None:
        self.vision = vision
        self.limits = limits or MediaLimits()

    @property
    def identity(self) -> Identity:
        return self.vision.identity

    def prepare(self, data: bytes, field: str, alone: bool = True) -> Patches:
        """Decode, resize and cut one picture. Safe to call from several threads.

        `field` names the picture in errors. alone: as in VisionHalf.preprocess. Raises
        InvalidMedia.
        """
        return self.vision.preprocess(decode_image(data, field, self.limits), alone)

    def encode(self, patches: Sequence[Patches], oim: OimSettings) -> list[VisionTokens]:
        """Visual tokens of each picture, in order. Not from two threads at once."""
        return self.vision.encode(patches, oim)
