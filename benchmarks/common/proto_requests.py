"""Requests to both services as messages, past the client."""

from luvc.v1 import chat_pb2, compression_pb2, decoder_pb2, encoder_pb2

from benchmarks.common.noise_images import encoded, noise_image

IMAGES = [encoded(noise_image(w, h, seed), kind) for w, h, seed, kind in (
    (160, 120, 1, "PNG"), (120, 160, 2, "JPEG"), (224, 224, 3, "WEBP"), (112, 336, 4, "PNG"),
)]  # fmt: skip


def ask(
    *parts: str | bytes, settings: compression_pb2.Compression | None = None, **sampling: object
) -> encoder_pb2.GenerateRequest:
    """Build a request to the encoder about one question.

    Args:
        parts: text, or the bytes of a file.
        settings: the compression.
        sampling: fields of Sampling; 8 tokens by default.
    """
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
    """Return the compression of a profile."""
    return compression_pb2.Compression(profile=name)


def to_decoder(tokens: object) -> decoder_pb2.DecoderServiceGenerateRequest:
    """Build a request to the decoder about tokens of one image."""
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
