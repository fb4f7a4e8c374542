"""Write the messages of this release as bytes, which all later releases must read.

Writes tests/wire/golden/<version>/: every message of the calls with every field set,
`<name>-<n>.binpb`, their fields as JSON, a question as a caller and as its encoder sent it,
`asked.binpb` and `asked_of_decoder.binpb`, and in `COMMIT` where they were made, for
`make bench-upgrade`. Part of `make release-protos`: made once for each release, and never changed
after it.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from luvc.v1 import decoder_pb2, encoder_pb2

from luvc_core.models.registry import load_vision
from tests.support.asking import IMAGES, ask
from tests.support.checkpoints import write_checkpoint
from tests.support.in_process_halves import decoder, encoder, pieces_of

FOLDER = Path(__file__).parents[1] / "wire" / "golden"
# So that each field of a choice is set once: no oneof is wider.
VARIANTS = 2
_NUMBERS = {
    FieldDescriptor.CPPTYPE_FLOAT,
    FieldDescriptor.CPPTYPE_DOUBLE,
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}


def message_types() -> Iterator[type[Message]]:
    """Yield what goes in and comes out of every call."""
    for file in (encoder_pb2.DESCRIPTOR, decoder_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            for method in service.methods:
                yield GetMessageClass(method.input_type)
                yield GetMessageClass(method.output_type)


def filled(kind: type[Message], variant: int) -> Message:
    """Make a message with every field set, and of each oneof the variant's."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        choices = field.containing_oneof.fields if field.containing_oneof else [field]
        if choices[variant % len(choices)] is not field:
            continue
        if field.is_repeated:
            values = [_value(field, (variant + i) % VARIANTS) for i in range(2)]
            getattr(message, field.name).extend(values)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(_value(field, variant))
        else:
            setattr(message, field.name, _value(field, variant))
    return message


def _value(field: FieldDescriptor, variant: int) -> Any:
    if field.message_type:
        return filled(GetMessageClass(field.message_type), variant)
    if field.enum_type:
        return field.enum_type.values[-1 - variant].number
    if field.cpp_type in _NUMBERS:
        # Exact in every number format.
        return field.number + variant
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return True
    text = f"{field.name}-{variant}"
    return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text


def fields_of(message: Message) -> Any:
    """Return all that a message says, as JSON values."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


async def _exchange() -> tuple[Message, Message]:
    """Return a question about an image, and what the encoder made of it for the decoder."""
    question = ask(IMAGES[0], "What is it?", max_tokens=3)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder) / "random-qwen2_vl")
        vision = load_vision(str(checkpoint), "cpu", "float32")
        async with decoder(checkpoint) as (back, replica), encoder(vision, back) as (_, front):
            await pieces_of(front.Generate(question))
            return question, replica.requests[0]


def main() -> int:
    """Write the messages of the version in pyproject.toml; return the exit status."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    folder = FOLDER / project["version"]
    folder.mkdir(parents=True, exist_ok=True)
    fields = {}
    for kind in message_types():
        for variant in range(VARIANTS):
            message = filled(kind, variant)
            name = f"{kind.DESCRIPTOR.name}-{variant}"
            (folder / f"{name}.binpb").write_bytes(message.SerializeToString(deterministic=True))
            fields[name] = fields_of(message)
    for name, message in zip(("asked", "asked_of_decoder"), asyncio.run(_exchange()), strict=True):
        (folder / f"{name}.binpb").write_bytes(message.SerializeToString(deterministic=True))
    (folder / "COMMIT").write_text(subprocess.check_output(["git", "rev-parse", "HEAD"], text=True))
    (folder / "fields.json").write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")
    print(f"{folder}: {2 + len(fields)} messages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
