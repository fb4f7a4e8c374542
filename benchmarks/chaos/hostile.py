"""Send thousands of hostile inputs to the functions that read them, and some to a running encoder.

Most go to the functions in a process of their own, which may crash; some go over gRPC to an encoder
that must go on serving.
"""

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
from luvc.local_stack.ending import end_with_parent

from benchmarks.chaos import hostile_inputs, hostile_requests
from benchmarks.chaos.hostile_edges import BLOB_KEY, Edges, outcome
from benchmarks.chaos.outcomes import Outcome, Row, ending_of, row
from benchmarks.chaos.testbed import KEYS, Testbed
from benchmarks.common.noise_images import noise_image
from benchmarks.common.process_memory import resident_mib
from luvc_core.compression.profile_files import to_toml
from luvc_core.compression.profiles import BUILT_IN
from luvc_core.compression.settings import OimSettings
from luvc_core.models.registry import load_language, load_vision
from luvc_core.visual_tokens.blob import to_blob
from luvc_core.wire.vision_tokens import write_vision_tokens

MOST_GROWTH_MIB = 50.0
# How many of 20 inputs each edge gets.
SHARES = {
    "media": 8, "encoder_request": 3, "decoder_request": 3, "encoder_bytes": 1, "decoder_bytes": 1,
    "settings": 1, "profiles": 1, "headers": 1, "blob": 1,
}  # fmt: skip
# Python's own, wherever it stands, and the word at the start of a line, as an input would forge it.
# Elsewhere the word alone is an input that an error quotes.
_TRACEBACK = ("Traceback (most recent call last)", "\nTraceback")
_RAW = "/luvc.v1.EncoderService/Generate"


def strategies(vision: Any) -> dict[str, Any]:
    """Return hypothesis strategies for what each edge is given, by the name of its function.

    Args:
        vision: makes real visual tokens, which are then changed.
    """
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
    """Draw so many inputs, others in each run, and hand them to `take`.

    Args:
        strategy: what to draw from.
        count: how many.
        take: gets each input.
    """

    @examples(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=False,
    )  # fmt: skip
    @given(strategy)
    def each(value: Any) -> None:
        take(value)

    each()


def bulk(checkpoint: str, count: int, kept: str) -> dict[str, Any]:
    """Give the edges many inputs and count how they end.

    Args:
        checkpoint: both halves of it are loaded here.
        count: how many inputs, over all edges.
        kept: folder for inputs that failed, with their tracebacks.

    Returns:
        `codes`: how many ended in each code; `grown_mib`: growth of this process after the first
        quarter of each edge's inputs; `slowest_s`: seconds of the slowest input.
    """
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


async def hostile(testbed: Testbed) -> list[Row]:
    """Check that every input ends in an answer or a typed error, without a crash or growth."""
    kept = tempfile.mkdtemp(prefix="luvc-hostile-")
    over_wire = max(20, testbed.size.hostile // 25)
    return [
        await asyncio.to_thread(_bulk_row, testbed, testbed.size.hostile - over_wire, kept),
        await _wire_row(testbed, over_wire),
    ]


def _bulk_row(testbed: Testbed, count: int, kept: str) -> Row:
    with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent, (getpid(),)) as pool:
        try:
            found = pool.submit(bulk, testbed.checkpoint, count, kept).result()
        except BrokenProcessPool:
            return row("hostile inputs", [], demands={"the process crashed": False})
    outcomes = [
        Outcome(ending_of(code), code, 0.0) for code, n in found["codes"].items() for _ in range(n)
    ]
    growth = found["grown_mib"]
    facts = {"grown_mib": round(growth, 1), "slowest_s": round(found["slowest_s"], 2)}
    demands = {
        f"memory grew by {growth:.0f} MiB": growth < MOST_GROWTH_MIB,
        f"inputs that failed lie in {kept}": "lost" not in found["codes"],
    }
    return row("hostile inputs", outcomes, facts, demands)


async def _wire_row(testbed: Testbed, count: int) -> Row:
    """Send the bytes of harmed requests to an encoder, which must still answer right afterwards."""
    sent: list[bytes] = []
    asked = hostile_requests.encoder_requests()
    draw(hostile_requests.message_bytes(asked), count // 2, sent.append)
    draw(asked, count - count // 2, lambda message: sent.append(message.SerializeToString()))
    before = resident_mib(testbed.first_encoder.pid)
    async with grpc.aio.insecure_channel(testbed.first_encoder.endpoint) as channel:
        outcomes = [await send(channel, data, testbed.size.patience) for data in sent]
    growth = resident_mib(testbed.first_encoder.pid) - before
    async with testbed.asking(testbed.first_encoder) as asker:
        outcomes += await asker.all_of(testbed.questions, concurrent=1)
    demands = {
        "a traceback in a log": not any(mark in testbed.first_encoder.log for mark in _TRACEBACK),
        f"memory grew by {growth:.0f} MiB": growth < MOST_GROWTH_MIB,
    }
    return row("hostile requests", outcomes, {"grown_mib": round(growth, 1)}, demands)


async def send(channel: grpc.aio.Channel, data: bytes, patience: float) -> Outcome:
    """Send bytes in place of a request.

    Args:
        channel: to the encoder.
        data: the bytes.
        patience: seconds for the call.

    Returns:
        How the call ended.
    """
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
    return Outcome("hung" if late else ending_of(code), code, took)
