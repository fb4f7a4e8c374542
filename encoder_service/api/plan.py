"""The plan of a Generate request: its checked content, and the compression chosen for it."""

from dataclasses import dataclass

from luvc.v1 import encoder_pb2

from luvc_core.compression.profiles import Profiles
from luvc_core.compression.settings import Compression
from luvc_core.media.media_file import MediaFile
from luvc_core.wire.chat import Conversation, media_in, read_conversation, read_sampling
from luvc_core.wire.compression import read_compression

# Applied where the service is busy and the request would rather be compressed more than wait.
_BUSY_PROFILE = "max"


@dataclass(frozen=True)
class RequestPlan:
    """A checked request, and the choices made for it.

    Attributes:
        conversation: what was asked, with the files of its images and videos.
        compression: merging and pruning to apply.
        compressed_more: whether that is more than was asked for, because the service is busy.
        strict: whether any degradation is an error, such as going on without the store.
    """

    conversation: Conversation
    compression: Compression
    compressed_more: bool
    strict: bool

    @property
    def media(self) -> list[MediaFile]:
        """All images and videos, in reading order."""
        return media_in(self.conversation)


def plan_request(
    request: encoder_pb2.GenerateRequest, profiles: Profiles, default_profile: str, busy: bool
) -> RequestPlan:
    """Read and check a request, and choose its compression.

    Args:
        request: as it came.
        profiles: those that it may name.
        default_profile: the one where it names none.
        busy: whether it had to wait for its turn.

    Raises:
        InvalidInput: naming the field that cannot be accepted.
    """
    conversation = read_conversation(request.messages)
    # Checked before any work is done; the decoder reads it again.
    read_sampling(request.sampling)
    compression = read_compression(request.compression, default_profile, profiles)
    compress_more = busy and request.degradation == encoder_pb2.DEGRADATION_COMPRESS_MORE
    if compress_more:
        compression = profiles.get(_BUSY_PROFILE)
    strict = request.degradation == encoder_pb2.DEGRADATION_FAIL
    return RequestPlan(conversation, compression, compress_more, strict)
