"""What the service tests ask, and how they look at a refusal."""

from collections.abc import Callable

import grpc
import pytest
from google.protobuf import duration_pb2
from luvc.v1 import chat_pb2, compression_pb2, decoder_pb2, encoder_pb2
from luvc.wire.status import Details, from_metadata

from tests.support.checkpoints import encoded, noise_image

TIMEOUT = 60.0
IMAGES = [encoded(noise_image(w, h, seed), kind) for w, h, seed, kind in (
    (160, 120, 1, "PNG"), (120, 160, 2, "JPEG"), (224, 224, 3, "WEBP"), (112, 336, 4, "PNG"),
)]  # fmt: skip


def ask(
    *parts: str | bytes, settings: compression_pb2.Compression | None = None, **sampling: object
) -> encoder_pb2.GenerateRequest:
    sampling = {"max_tokens": 8} | sampling
    return encoder_pb2.GenerateRequest(
        messages=[
            chat_pb2.ChatMessage(
                role=chat_pb2.ROLE_USER,
                parts=[
                    chat_pb2.ContentPart(text=part)
                    if isinstance(part, str)
                    else chat_pb2.ContentPart(media=chat_pb2.Media(data=part))
                    for part in parts
                ],
            )
        ],
        sampling=chat_pb2.Sampling(**sampling),  # type: ignore[arg-type]
        compression=settings,
    )


def named(name: str) -> compression_pb2.Compression:
    return compression_pb2.Compression(profile=name)


LONG = ask("Tell me everything.", max_tokens=400)


def timed(request: encoder_pb2.GenerateRequest, name: str, seconds: float) -> object:
    copy = encoder_pb2.GenerateRequest()
    copy.CopyFrom(request)
    copy.request_id = name
    copy.timeout.CopyFrom(duration_pb2.Duration(nanos=int(seconds % 1 * 1e9), seconds=int(seconds)))
    return copy


def to_decoder(tokens: object) -> decoder_pb2.DecoderServiceGenerateRequest:
    return decoder_pb2.DecoderServiceGenerateRequest(
        messages=[
            chat_pb2.ChatMessage(
                role=chat_pb2.ROLE_USER,
                parts=[
                    chat_pb2.ContentPart(media=chat_pb2.Media()),
                    chat_pb2.ContentPart(text="What?"),
                ],
            )
        ],
        vision_tokens=tokens,  # type: ignore[arg-type]
        sampling=chat_pb2.Sampling(max_tokens=2),
    )


def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, Details]:
    """How a call fails: always with details of ours, never with a traceback."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    text = error.details()
    assert text
    assert "Traceback" not in text
    assert 'File "' not in text
    details = from_metadata(error.trailing_metadata())
    assert details is not None, error
    return error.code(), text, details
