"""The thin client on its own: what it needs, what it sends, how failures look."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from luvc import AsyncClient, Client, InvalidArgument, LuvcError, Message, Unavailable
from luvc.answers import usage_dict
from luvc.cli.main import main
from luvc.errors import from_rpc
from luvc.requests import Options, conversation, media_of, question_about
from luvc.v1 import chat_pb2, encoder_pb2, encoder_pb2_grpc, usage_pb2
from PIL import Image


def test_importing_the_client_loads_none_of_the_model_stack() -> None:
    code = "import luvc, luvc.cli, sys, json; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    heavy = {"torch", "transformers", "ray", "numpy", "luvc_core", "encoder_service"}
    assert not heavy & set(loaded)


def test_media_from_a_path_bytes_and_an_image(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 30), "red")
    path = tmp_path / "red.png"
    image.save(path)
    assert media_of(path) == chat_pb2.Media(data=path.read_bytes(), name="red.png")
    assert media_of(str(path)) == media_of(path)
    assert media_of(b"abc").data == b"abc"
    sent = Image.open(io.BytesIO(media_of(image).data))
    assert sent.tobytes() == image.tobytes()


def test_images_come_before_the_question() -> None:
    (message,) = question_about("what?", [b"1", b"2"])
    assert [p.WhichOneof("part") for p in message.parts] == ["media", "media", "text"]


def test_a_conversation_keeps_order_and_roles() -> None:
    turns = conversation(
        [
            Message("user", ["look:", b"1", "what is it?"]),
            Message("assistant", ["a cat"]),
            Message("user", ["sure?"]),
        ]
    )
    assert [t.role for t in turns] == [
        chat_pb2.ROLE_USER,
        chat_pb2.ROLE_ASSISTANT,
        chat_pb2.ROLE_USER,
    ]
    assert [p.WhichOneof("part") for p in turns[0].parts] == ["text", "media", "text"]


def test_what_is_not_said_is_left_to_the_server() -> None:
    request = Options().request([])
    assert not request.sampling.HasField("max_tokens")
    assert not request.sampling.HasField("seed")
    assert request.compression.WhichOneof("choice") is None
    assert request.timeout.seconds == 60


def test_usage_as_json_has_numbers_and_milliseconds() -> None:
    usage = usage_pb2.Usage(wire_byte_count=5_000_000_000, layer_visual_token_counts=[4, 0])
    usage.times.prefill.FromMicroseconds(1500)
    plain = usage_dict(usage)
    assert plain["wire_byte_count"] == 5_000_000_000
    assert plain["layer_visual_token_counts"] == [4, 0]
    assert plain["source_visual_token_count"] == 0
    assert plain["times_ms"] == {"prefill": 1.5}
    json.dumps(plain)


class _Failed(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INVALID_ARGUMENT

    def details(self) -> str:
        return "sampling.max_tokens: got 0; allowed: >= 1"

    def trailing_metadata(self) -> None:
        return None


def test_failures_become_typed_errors() -> None:
    error = from_rpc(_Failed())
    assert isinstance(error, InvalidArgument)
    assert error.code == "INVALID_ARGUMENT"
    assert "max_tokens" in error.message


def test_an_unreachable_service_is_unavailable() -> None:
    with Client("localhost:1") as client, pytest.raises(Unavailable):
        client.ask("anyone?", timeout=5)


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", str(tmp_path / "none.png"), "what?"]) == 2
    assert "none.png: No such file" in capsys.readouterr().err
    assert main(["ask", "what?", "--endpoint", "localhost:1", "--timeout", "2"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("luvc: UNAVAILABLE")
    assert captured.out == ""


class _Falters(encoder_pb2_grpc.EncoderServiceServicer):
    """A service that is lost in the middle of its first answer."""

    def __init__(self) -> None:
        self.calls = 0

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.calls += 1
        yield encoder_pb2.GenerateResponse(text="one ")
        if self.calls == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        yield encoder_pb2.GenerateResponse(text="two")


async def test_what_nobody_has_seen_is_asked_for_again() -> None:
    server, falters = grpc.aio.server(), _Falters()
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(falters, server)
    endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with AsyncClient(endpoint) as client:
            assert (await client.ask("count", timeout=20)).text == "one two"
            falters.calls = 0
            stream = client.stream("count", timeout=20)
            assert await anext(aiter(stream)) == "one "
            with pytest.raises(Unavailable):
                await stream.answer()
            assert falters.calls == 1
        falters.calls = 0
        with Client(endpoint) as client:
            answer = await asyncio.to_thread(client.ask, "count", timeout=20)
            assert (answer.text, falters.calls) == ("one two", 2)
    finally:
        await server.stop(None)


async def test_cancelling_a_stream_is_not_cancelling_its_reader() -> None:
    async with AsyncClient("localhost:1") as client:
        stream = client.stream("anyone?", timeout=20)
        reading = asyncio.create_task(stream.answer())
        await asyncio.sleep(0)
        stream.cancel()
        with pytest.raises(LuvcError) as caught:
            await reading
        assert caught.value.code in ("CANCELLED", "UNAVAILABLE")
