"""Hostile requests: whole messages with fields set to anything, and their bytes changed."""

import hashlib
from collections.abc import Callable
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import strategies as st
from luvc.v1 import compression_pb2, decoder_pb2, encoder_pb2, tokens_pb2

from benchmarks.chaos.hostile_inputs import changed
from benchmarks.common.proto_requests import IMAGES, ask, named, to_decoder

_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}


def any_value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Draw what the field's type allows, its bounds more often than the rest."""
    if field.cpp_type in _FLOATS:
        return st.floats(width=32)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        text = st.text(max_size=40) | st.sampled_from(["<|image_pad|>", "a\nTraceback", "x" * 5000])
        return st.binary(max_size=80) if field.type == FieldDescriptor.TYPE_BYTES else text
    low, high = _RANGES[field.cpp_type]
    return st.integers(low, high) | st.sampled_from([low, high, 0, 1, 2])


@st.composite
def harmed(draw: Callable[..., Any], whole: st.SearchStrategy[Message]) -> Message:
    """Draw a whole message and set some of its fields to anything, clear them or repeat them."""
    message = draw(whole)
    copy = type(message)()
    copy.CopyFrom(message)
    for _ in range(draw(st.integers(1, 4))):
        _harm(draw, copy)
    return copy


def _harm(draw: Callable[..., Any], message: Message) -> None:
    field = draw(st.sampled_from(list(message.DESCRIPTOR.fields)))
    value = getattr(message, field.name)
    if field.is_repeated:
        _harm_list(draw, value, field)
    elif field.message_type is None:
        setattr(message, field.name, draw(any_value(field)))
    elif draw(st.integers(0, 9)) == 0:
        message.ClearField(field.name)
    else:
        value.SetInParent()
        if field.message_type.fields:
            _harm(draw, value)


def _harm_list(draw: Callable[..., Any], items: Any, field: FieldDescriptor) -> None:
    if items and draw(st.booleans()):
        if field.message_type is not None:
            _harm(draw, items[draw(st.integers(0, len(items) - 1))])
        else:
            items[draw(st.integers(0, len(items) - 1))] = draw(any_value(field))
    elif items and draw(st.booleans()):
        del items[draw(st.integers(0, len(items) - 1))]
    elif field.message_type is not None:
        items.add()
    else:
        items.append(draw(any_value(field)))


def asked() -> st.SearchStrategy[Message]:
    """Draw whole requests to the encoder."""
    ramp = compression_pb2.SpuSettings(ramp=compression_pb2.ScheduleRamp(start=0.1, end=0.8))
    keep = compression_pb2.SpuSettings(
        keep=compression_pb2.ScheduleKeep(shares=[1, 0.5, 0.5, 0, 0])
    )
    own = [
        compression_pb2.Compression(
            settings=compression_pb2.CompressionSettings(
                spu=spu, oim=compression_pb2.OimSettings(keep_rows=0.5, keep_columns=0.5)
            )
        )
        for spu in (ramp, keep)
    ]
    choices = [None, named("max"), named("luvc-paper"), *own]
    digest = ask(IMAGES[0], "What is it?", max_tokens=2)
    digest.messages[0].parts[0].media.digest_sha256 = hashlib.sha256(IMAGES[0]).digest()
    requests = [ask(IMAGES[0], "What is it?", settings=s, max_tokens=2) for s in choices]
    whole = [*requests, digest]
    # By their number, as hypothesis writes down all that it is to draw from.
    return st.integers(0, len(whole) - 1).map(whole.__getitem__)


def encoder_requests() -> st.SearchStrategy[encoder_pb2.GenerateRequest]:
    """Draw harmed requests to the encoder."""
    return harmed(asked())  # type: ignore[return-value]


def decoder_requests(
    tokens: tokens_pb2.VisionTokens,
) -> st.SearchStrategy[decoder_pb2.DecoderServiceGenerateRequest]:
    """Draw harmed requests to the decoder; half of them have a checksum that fits their tokens.

    Args:
        tokens: whole tokens of the served model.
    """
    whole = to_decoder([tokens])
    whole.spu.ramp.start = 0.1
    whole.spu.ramp.end = 0.8
    plain = harmed(st.integers(0, 0).map([whole].__getitem__))
    return cast(
        "st.SearchStrategy[decoder_pb2.DecoderServiceGenerateRequest]",
        plain | plain.map(with_right_checksum),
    )


def with_right_checksum(request: Message) -> Message:
    """Set the checksums of a request's tokens to what their data gives, in place."""
    for tokens in request.vision_tokens:  # type: ignore[attr-defined]
        digest = hashlib.sha256()
        for name in ("embeddings", "positions", "sizes", "scales"):
            if tokens.HasField(name):
                digest.update(getattr(tokens, name).data)
        tokens.checksum_sha256 = digest.digest()
    return request


def message_bytes(whole: st.SearchStrategy[Message]) -> st.SearchStrategy[bytes]:
    """Draw the bytes of whole messages, changed, and bytes that are no message."""
    return st.one_of(
        whole.flatmap(lambda message: changed([message.SerializeToString()])),
        st.binary(max_size=100),
    )


def parsed(kind: type[Message], data: bytes) -> Message | None:
    """Parse bytes; return None where they are no such message, which gRPC refuses by itself."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return None
