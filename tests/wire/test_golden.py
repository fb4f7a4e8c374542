"""Messages of every release: today's protos read them, today's services answer them."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from luvc.v1 import chat_pb2, decoder_pb2, decoder_pb2_grpc, encoder_pb2

from luvc_core.models.base import VisionHalf
from tests.support.golden_messages import FOLDER, VARIANTS, fields_of, filled, message_types
from tests.support.in_process_halves import decoder, encoder, pieces_of

RELEASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
KINDS = {kind.DESCRIPTOR.name: kind for kind in message_types()}


def read(path: Path, kind: type[Message]) -> Any:
    return kind.FromString(path.read_bytes())


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_all_messages_say_the_same(release: Path) -> None:
    expected = json.loads((release / "fields.json").read_text())
    assert expected
    for name, fields in expected.items():
        path = release / f"{name}.binpb"
        message = read(path, KINDS[name.rpartition("-")[0]])
        assert fields_of(message) == fields, name
        assert not list(UnknownFieldSet(message)), name
        assert message.SerializeToString(deterministic=True) == path.read_bytes(), name


def test_every_message_of_every_call_is_kept() -> None:
    newest = json.loads((RELEASES[-1] / "fields.json").read_text())
    released = {name.rpartition("-")[0] for name in newest}
    assert released == KINDS.keys()
    for kind in KINDS.values():
        for variant in range(VARIANTS):
            assert filled(kind, variant).IsInitialized()


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
async def test_questions_are_answered(release: Path, checkpoint: Path, vision: VisionHalf) -> None:
    asked = read(release / "asked.binpb", encoder_pb2.GenerateRequest)
    of_decoder = read(release / "asked_of_decoder.binpb", decoder_pb2.DecoderServiceGenerateRequest)
    async with (
        decoder(checkpoint) as (back, replica),
        encoder(vision, back) as (_, front),
        grpc.aio.insecure_channel(back) as channel,
    ):
        pieces = await pieces_of(front.Generate(asked))
        (today,) = replica.requests
        # Weights of the tests are made anew each time: whose tokens these are is all that differs.
        for then, now in zip(of_decoder.vision_tokens, today.vision_tokens, strict=True):
            then.identity.CopyFrom(now.identity)
        of_decoder.ClearField("timeout")
        old_pieces = await pieces_of(
            decoder_pb2_grpc.DecoderServiceStub(channel).Generate(of_decoder)
        )
    for last in (pieces[-1], old_pieces[-1]):
        assert last.finish_reason != chat_pb2.FINISH_REASON_UNSPECIFIED
        assert last.usage.prompt_token_count == pieces[-1].usage.prompt_token_count
        assert last.usage.completion_token_count > 0
