"""What a person runs: `luvc serve` with two replicas, `luvc ask`, the clients, and buf curl."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from luvc import AsyncClient, Client, InvalidArgument
from luvc.local_stack.child_process import Child
from luvc.local_stack.free_port import free_port

from tests.support.asking import IMAGES
from tests.support.video_files import encode_video, moving_square

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def endpoints(checkpoint: Path) -> Iterator[tuple[str, str]]:
    """Those of the encoder and the decoder of a running `luvc serve`."""
    port, decoder_port = free_port(), free_port()
    # The pictures of tests are too small for pruning to pay.
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "LUVC_DECODER_PRUNING": "always"}
    process = subprocess.Popen(
        [BIN / "luvc", "serve", "--model", checkpoint, "--port", str(port),
         "--decoder-port", str(decoder_port), "--decoder-replicas", "2"],
        stderr=subprocess.PIPE, text=True, env=environ,
    )  # fmt: skip
    assert process.stderr is not None
    lines = process.stderr
    try:
        for line in lines:
            if "ready on" in line and line.startswith("luvc:"):
                break
        else:
            raise AssertionError("luvc serve ended before it was ready")
        # A full pipe would stop the services.
        threading.Thread(target=lines.read, daemon=True).start()
        yield f"127.0.0.1:{port}", f"127.0.0.1:{decoder_port}"
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(90)
    assert status == 0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    path.write_bytes(IMAGES[2])
    return path


def luvc_ask(endpoint: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [BIN / "luvc", "ask", *arguments, "--endpoint", endpoint, "--max-tokens", "8"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_ask_prints_one_json_object(endpoints: tuple[str, str], image: Path) -> None:
    done = luvc_ask(endpoints[0], image, "What is it?", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert isinstance(printed["answer"], str)
    assert printed["usage"]["profile"] == "lossless"
    assert printed["usage"]["source_visual_token_count"] == 36
    assert printed["usage"]["layer_visual_token_counts"][-1] == 0
    assert printed["usage"]["times_ms"]["total"] > 0


def test_ask_streams_text_and_sums_up_for_people(endpoints: tuple[str, str], image: Path) -> None:
    plain = luvc_ask(endpoints[0], image, "What is it?")
    as_json = luvc_ask(endpoints[0], image, "What is it?", "--json")
    assert plain.stdout.rstrip("\n") == json.loads(as_json.stdout)["answer"].rstrip("\n")
    assert "visual tokens: 36 in the picture" in plain.stderr


def test_ask_takes_a_video(endpoints: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode_video(moving_square(24)))
    plain = luvc_ask(endpoints[0], path, "What moves?")
    assert plain.returncode == 0, plain.stderr
    assert "in the media (6 frames)" in plain.stderr
    as_json = luvc_ask(endpoints[0], path, "What moves?", "--json")
    assert json.loads(as_json.stdout)["usage"]["frame_count"] == 6


def test_ask_says_what_is_wrong(endpoints: tuple[str, str], image: Path) -> None:
    done = luvc_ask(endpoints[0], image, "What is it?", "--profile", "none")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "INVALID_ARGUMENT" in done.stderr
    assert "balanced" in done.stderr
    assert "Traceback" not in done.stderr


async def test_both_clients_stream_the_same_answer(endpoints: tuple[str, str]) -> None:
    with Client(endpoints[0]) as client:
        stream = client.stream("Why?", IMAGES[0], max_tokens=8)
        text = "".join(stream)
        assert stream.answer.text == text
        with pytest.raises(InvalidArgument, match="max_tokens"):
            client.ask("Why?", max_tokens=0)
    async with AsyncClient(endpoints[0]) as client:
        answer = await client.ask("Why?", IMAGES[0], max_tokens=8)
    assert answer.text == text


def test_replicas_share_the_work_and_answer_alike(endpoints: tuple[str, str]) -> None:
    def ask(number: int) -> str:
        return client.ask("Who?", IMAGES[number % 4], max_tokens=8).text

    with Client(endpoints[0]) as client, ThreadPoolExecutor(16) as pool:
        alone = [ask(number) for number in range(4)]
        assert list(pool.map(ask, range(32))) == alone * 8


def buf_curl(endpoint: str, *arguments: str) -> str:
    return subprocess.run(
        [BIN / "buf", "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments[:-1],
         f"http://{endpoint}/{arguments[-1]}"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("place", [0, 1])
def test_buf_curl_lists_and_calls(endpoints: tuple[str, str], place: int) -> None:
    name = ("luvc.v1.EncoderService", "luvc.v1.DecoderService")[place]
    endpoint = endpoints[place]
    assert f"{name}/Generate" in buf_curl(endpoint, "--list-methods", "")
    body = {
        "messages": [{"role": "ROLE_USER", "parts": [{"text": "Hello"}]}],
        "sampling": {"maxTokens": 4},
    }
    printed = buf_curl(endpoint, "--data", json.dumps(body), f"{name}/Generate")
    decoder, last, start = json.JSONDecoder(), None, 0
    while start < len(printed.rstrip()):
        last, end = decoder.raw_decode(printed, start)
        start = end + len(printed[end:]) - len(printed[end:].lstrip())
    assert last["usage"]["completionTokenCount"] >= 1


@pytest.fixture
def starting(checkpoint: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Child]:
    """Run `luvc serve` that is not ready yet, behind the words of its parameter.

    Nothing of it may be left in the end.
    """
    port = str(free_port())
    # The tests themselves may run under nohup.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    command = [*request.param, BIN / "luvc", "serve", "--model", checkpoint, "--decoder-port", port]
    serve = Child(command, tmp_path / "serve.log")
    try:
        wait_for(lambda: "starting" in serve.output, 60)
        yield serve
    finally:
        signal.signal(signal.SIGHUP, before)
        serve.stop(90)
    assert not [words for words in commands_now() if port in words]


def commands_now() -> Iterator[list[str]]:
    """Those of all processes of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # one that has just ended
            yield path.read_text(errors="replace").split("\0")


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("starting", [()], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_can_be_stopped_while_it_starts(starting: Child, number: signal.Signals) -> None:
    os.kill(starting.pid, number)
    wait_for(lambda: starting.status is not None, 90)
    assert starting.status == 0
    assert starting.output.endswith("luvc: stopping ...\n")


@pytest.mark.parametrize("starting", [("nohup",)], indirect=True)
def test_under_nohup_it_outlives_the_terminal(starting: Child) -> None:
    os.kill(starting.pid, signal.SIGHUP)
    time.sleep(0.5)
    assert starting.status is None
    assert "stopping" not in starting.output
