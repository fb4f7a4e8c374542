"""Call the functions that read what callers send, in the way the services call them.

Each takes one input and returns, or raises an error of the tree. Anything else is a bug.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from luvc.v1 import decoder_pb2, encoder_pb2
from luvc.wire.status import from_metadata

from benchmarks.chaos.hostile_requests import parsed
from benchmarks.chaos.outcomes import Outcome, ending_of
from encoder_service.config import EncoderConfig
from encoder_service.tenants import Tenants
from luvc_core.compression.profile_files import read_profiles
from luvc_core.compression.profiles import BUILT_IN
from luvc_core.compression.settings_from_dict import settings_from_dict
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.errors import ServiceError, Unavailable
from luvc_core.media.images import MediaLimits
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.runtime.deadline import Deadline
from luvc_core.visual_tokens.blob import BadValue, from_blob
from luvc_core.wire.chat import media_in, read_conversation, read_sampling
from luvc_core.wire.compression import read_compression
from luvc_core.wire.generate import read_decoder_request, read_timeout, write_decoder_request

# Longer than any small file may take to decode, however slow the machine.
_SECONDS = 60.0
BLOB_KEY = "k"


class Edges:
    """The edges of both services, around the two halves of one small checkpoint."""

    def __init__(self, vision: VisionHalf, language: LanguageHalf) -> None:
        # Larger ones only take longer here; that they are refused by their header is the same.
        limits = MediaLimits(max_pixels=1_000_000, max_video_pixels=300_000, max_video_frames=500)
        self._encoder = MediaEncoder(vision, limits)
        self._engine = RequestProcessor(language)
        self._tenants = Tenants({"0" * 64: "somebody"}, EncoderConfig())

    def media(self, data: bytes) -> None:
        """Decode and encode a file."""
        patches = self._encoder.prepare(data, "media", check=Deadline.after(_SECONDS).check)
        self._encoder.encode([patches], BUILT_IN.get("luvc-paper").oim)

    def encoder_request(self, request: encoder_pb2.GenerateRequest) -> None:
        """Do what the encoder does with a request before and after its media are encoded."""
        read_timeout(request)
        conversation = read_conversation(request.messages)
        read_sampling(request.sampling)
        chosen = read_compression(request.compression, "lossless")
        write_decoder_request(conversation, request, chosen.spu, timeout=1.0, request_id="")
        for file in media_in(conversation):
            self.media(file.data)

    def decoder_request(self, request: decoder_pb2.DecoderServiceGenerateRequest) -> None:
        """Read a request as the decoder does, and make the first tokens of its answer."""
        read_timeout(request)
        model = self._engine.language
        max_tokens = model.context_length - 1
        question = read_decoder_request(request, model.identity, {}, max_tokens)
        generation = self._engine.start(question)
        for _ in range(3):
            if generation.step() is None:
                break

    def encoder_bytes(self, data: bytes) -> None:
        """Read bytes in place of a request to the encoder."""
        if request := parsed(encoder_pb2.GenerateRequest, data):
            self.encoder_request(request)  # type: ignore[arg-type]

    def decoder_bytes(self, data: bytes) -> None:
        """Read bytes in place of a request to the decoder."""
        if request := parsed(decoder_pb2.DecoderServiceGenerateRequest, data):
            self.decoder_request(request)  # type: ignore[arg-type]

    def settings(self, value: object) -> None:
        """Read compression settings from a mapping."""
        if isinstance(value, Mapping):
            compression = settings_from_dict("own", value, "own")
            if compression.spu:
                compression.spu.layer_counts(5, 64)

    def profiles(self, text: bytes) -> None:
        """Read a file of profiles."""
        with tempfile.NamedTemporaryFile(suffix=".toml") as file:
            Path(file.name).write_bytes(text)
            read_profiles(file.name, 5)

    def headers(self, metadata: list[tuple[str, str | bytes]]) -> None:
        """Read the metadata of a call, and the metadata that a client gets back."""
        from_metadata(metadata)
        self._tenants.of(metadata)

    def blob(self, data: bytes) -> None:
        """Read a value of the store. A bad one counts as lost tokens, which raises Unavailable."""
        try:
            from_blob(data, BLOB_KEY)
        except BadValue as error:
            raise Unavailable(str(error)) from None


def outcome(edge: Callable[[Any], None], value: Any) -> Outcome:
    """Call an edge with one input and return how it ended. Errors outside the tree are raised."""
    start = time.monotonic()
    try:
        edge(value)
    except ServiceError as error:
        return Outcome(ending_of(error.code), error.code, time.monotonic() - start)
    return Outcome("answered", "OK", time.monotonic() - start)
