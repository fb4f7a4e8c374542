"""Thousands of inputs that mean harm: most at the edge functions, in a process that may crash, and
some over gRPC to an encoder that goes on serving."""

import asyncio
import gc
import json
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from os import getpid
from pathlib import Path
from typing import Any

import grpc
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from luvc.access import metadata_of

from benchmarks.chaos import hostile_inputs, hostile_requests
from benchmarks.chaos.hostile_edges import BLOB_KEY, Edges, outcome
from benchmarks.chaos.outcomes import TYPED, Outcome, Row, row
from benchmarks.chaos.processes import resident_mib
from benchmarks.chaos.stage import KEYS, Stage
from luvc_core.compression.profile_files import to_toml
from luvc_core.compression.profiles import BUILT_IN
from luvc_core.compression.settings import OimSettings
from luvc_core.models.registry import load_language, load_vision
from luvc_core.visual_tokens.blob import to_blob
from luvc_core.wire.vision_tokens import write_vision_tokens
from tests.support.checkpoints import noise_image

MOST_GROWTH_MIB = 50.0
# Of 20 inputs, how many each edge gets.
SHARES = {
    "media": 8, "encoder_request": 3, "decoder_request": 3, "encoder_bytes": 1, "decoder_bytes": 1,
    "settings": 1, "profiles": 1, "headers": 1, "blob": 1,
}  # fmt: skip
# Python's own, wherever it stands, and the word at the start of a line, as an input would forge it.
# Elsewhere the word alone is an input that an error quotes.
_TRACEBACK = ("Traceback (most recent call last)", "\nTraceback")
_RAW = "/luvc.v1.EncoderService/Generate"


def strategies(vision: Any) -> dict[str, Any]:
    """What each edge is given, by the name of its function. vision: makes the tokens."""
    image = vision.preprocess(noise_image(84, 56, 1))
    (tokens,) = vision.encode([image], OimSettings())
    to_decoder = hostile_requests.decoder_requests(write_vision_tokens(tokens))
    asked = hostile_requests.encoder_requests()
    toml = to_toml([BUILT_IN.get("max")]).replace("[max", "[own").encode()
    return {
        "media": hostile_inputs.media(),
        "encoder_request": asked,
        "decoder_request": to_decoder,
        "encoder_bytes": hostile_requests.message_bytes(asked),
        "decoder_bytes": hostile_requests.message_bytes(to_decoder),
        "settings": hostile_inputs.settings(),
        "profiles": hostile_inputs.changed([toml]),
        "headers": hostile_inputs.headers(),
        "blob": hostile_inputs.changed([to_blob(tokens, BLOB_KEY)]),
    }


def draw(strategy: Any, count: int, take: Callable[[Any], None]) -> None:
    """Hand so many inputs out, others each time."""

    @examples(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=False,
    )  # fmt: skip
    @given(strategy)
    def each(value: Any) -> None:
        take(value)

    each()


def bulk(checkpoint: str, count: int, kept: str) -> dict[str, Any]:
    """Codes of inputs at the edges; growth in MiB after the first quarter of each; the seconds of
    the slowest. kept: a folder for inputs that failed, with their tracebacks."""
    vision = load_vision(checkpoint, "cpu", "float32")
    edges = Edges(vision, load_language(checkpoint, "cpu", "float32"))
    codes: Counter[str] = Counter()
    growth, slowest = 0.0, 0.0
    for name, strategy in strategies(vision).items():

        def take(value: Any, name: str = name) -> None:
            nonlocal slowest
            try:
                ended = outcome(getattr(edges, name), value)
            except Exception:
                codes["lost"] += 1
                _keep(Path(kept) / f"{name}-{codes['lost']}", value)
                return
            slowest = max(slowest, ended.seconds)
            codes[ended.code] += 1

        part = count * SHARES[name] // sum(SHARES.values())
        draw(strategy, max(1, part // 4), take)
        before = _settled()
        draw(strategy, max(1, part - part // 4), take)
        growth += _settled() - before
    return {"codes": dict(codes), "grown_mib": growth, "slowest_s": slowest}


def _keep(path: Path, value: Any) -> None:
    data = value.SerializeToString() if hasattr(value, "SerializeToString") else value
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data, default=repr).encode())
    path.with_suffix(".txt").write_text(traceback.format_exc())


def _settled() -> float:
    gc.collect()
    return resident_mib(getpid())


async def hostile(stage: Stage) -> list[Row]:
    """Every input ends in an answer or a typed error; nobody crashes, or grows."""
    kept = tempfile.mkdtemp(prefix="luvc-hostile-")
    over_wire = max(20, stage.size.hostile // 25)
    return [
        await asyncio.to_thread(_bulk_row, stage, stage.size.hostile - over_wire, kept),
        await _wire_row(stage, over_wire),
    ]


def _bulk_row(stage: Stage, count: int, kept: str) -> Row:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            found = pool.submit(bulk, stage.checkpoint, count, kept).result()
        except BrokenProcessPool:
            return row("hostile inputs", [], demands={"the process crashed": False})
    outcomes = [
        Outcome(_ending(code), code, 0.0) for code, n in found["codes"].items() for _ in range(n)
    ]
    growth = found["grown_mib"]
    facts = {"grown_mib": round(growth, 1), "slowest_s": round(found["slowest_s"], 2)}
    demands = {
        f"memory grew by {growth:.0f} MiB": growth < MOST_GROWTH_MIB,
        f"inputs that failed lie in {kept}": "lost" not in found["codes"],
    }
    return row("hostile inputs", outcomes, facts, demands)


async def _wire_row(stage: Stage, count: int) -> Row:
    """The bytes of harmed requests, to an encoder that must still answer right afterwards."""
    sent: list[bytes] = []
    asked = hostile_requests.encoder_requests()
    draw(hostile_requests.message_bytes(asked), count // 2, sent.append)
    draw(asked, count - count // 2, lambda message: sent.append(message.SerializeToString()))
    before = resident_mib(stage.one.pid)
    async with grpc.aio.insecure_channel(stage.one.endpoint) as channel:
        outcomes = [await send(channel, data, stage.size.patience) for data in sent]
    growth = resident_mib(stage.one.pid) - before
    async with stage.asking(stage.one) as asker:
        outcomes += await asker.all_of(stage.questions, concurrent=1)
    demands = {
        "a traceback in a log": not any(mark in stage.one.log for mark in _TRACEBACK),
        f"memory grew by {growth:.0f} MiB": growth < MOST_GROWTH_MIB,
    }
    return row("hostile requests", outcomes, {"grown_mib": round(growth, 1)}, demands)


async def send(channel: grpc.aio.Channel, data: bytes, patience: float) -> Outcome:
    """Bytes in place of a request, and how the call ended."""
    start = time.monotonic()
    generate: Any = channel.unary_stream(_RAW)
    call = generate(data, timeout=patience, metadata=metadata_of(KEYS["one"]))
    try:
        # Until all is read there is no code.
        async for _ in call:
            pass
        code = "OK"
    except grpc.aio.AioRpcError as error:
        code = error.code().name
    took = time.monotonic() - start
    late = code == "DEADLINE_EXCEEDED" and took > 0.95 * patience
    return Outcome("hung" if late else _ending(code), code, took)


def _ending(code: str) -> Any:
    return {"OK": "answered"}.get(code) or ("typed_error" if code in TYPED else "lost")
