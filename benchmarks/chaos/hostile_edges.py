"""The functions that meet what callers send, called as the services call them.

Each takes one input and ends, or raises an error of the tree. Anything else is a bug.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from luvc.v1 import decoder_pb2, encoder_pb2
from luvc.wire.status import from_metadata

from benchmarks.chaos.hostile_requests import parsed
from benchmarks.chaos.outcomes import TYPED, Outcome
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
    """Those of both services, around two small halves of one checkpoint."""

    def __init__(self, vision: VisionHalf, language: LanguageHalf) -> None:
        # Larger ones only take longer here; that they are refused by their header is the same.
        limits = MediaLimits(max_pixels=1_000_000, max_video_pixels=300_000, max_video_frames=500)
        self._encoder = MediaEncoder(vision, limits)
        self._engine = RequestProcessor(language)
        self._tenants = Tenants({"0" * 64: "somebody"}, EncoderConfig())

    def media(self, data: bytes) -> None:
        patches = self._encoder.prepare(data, "media", check=Deadline.after(_SECONDS).check)
        self._encoder.encode([patches], BUILT_IN.get("luvc-paper").oim)

    def encoder_request(self, request: encoder_pb2.GenerateRequest) -> None:
        """What the encoder does of a request before and after its media are encoded."""
        read_timeout(request)
        conversation = read_conversation(request.messages)
        read_sampling(request.sampling)
        chosen = read_compression(request.compression, "lossless")
        write_decoder_request(conversation, request, chosen.spu, timeout=1.0, request_id="")
        for file in media_in(conversation):
            self.media(file.data)

    def decoder_request(self, request: decoder_pb2.DecoderServiceGenerateRequest) -> None:
        """The first tokens of an answer included."""
        read_timeout(request)
        model = self._engine.language
        most = model.context_length - 1
        question = read_decoder_request(request, model.identity, {}, most)
        session = self._engine.start(question)
        for _ in range(3):
            if session.step() is None:
                break

    def encoder_bytes(self, data: bytes) -> None:
        if request := parsed(encoder_pb2.GenerateRequest, data):
            self.encoder_request(request)  # type: ignore[arg-type]

    def decoder_bytes(self, data: bytes) -> None:
        if request := parsed(decoder_pb2.DecoderServiceGenerateRequest, data):
            self.decoder_request(request)  # type: ignore[arg-type]

    def settings(self, value: object) -> None:
        if isinstance(value, Mapping):
            compression = settings_from_dict("own", value, "own")
            if compression.spu:
                compression.spu.layer_counts(5, 64)

    def profiles(self, text: bytes) -> None:
        with tempfile.NamedTemporaryFile(suffix=".toml") as file:
            Path(file.name).write_bytes(text)
            read_profiles(file.name, 5)

    def headers(self, metadata: list[tuple[str, str | bytes]]) -> None:
        """Those of a call, and those that a client gets back."""
        from_metadata(metadata)
        self._tenants.of(metadata)

    def blob(self, data: bytes) -> None:
        """A value of the store, which is dropped, or tokens on their way, which are lost."""
        try:
            from_blob(data, BLOB_KEY)
        except BadValue as error:
            raise Unavailable(str(error)) from None


def outcome(edge: Callable[[Any], None], value: Any) -> Outcome:
    """How it ended. What is no error of the tree is raised."""
    start = time.monotonic()
    try:
        edge(value)
    except ServiceError as error:
        ending = "typed_error" if error.code in TYPED else "lost"
        return Outcome(ending, error.code, time.monotonic() - start)  # type: ignore[arg-type]
    return Outcome("answered", "OK", time.monotonic() - start)
