"""Let callers leave at any moment, and measure how soon nothing is left of their requests."""

import asyncio
import math
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress

from luvc import LuvcError

from benchmarks.chaos.judged_load import Asker, Question
from benchmarks.chaos.outcomes import Outcome, Row, ending_of, row
from benchmarks.chaos.testbed import Testbed

_ENCODER_GAUGES = ("luvc_num_requests_running", "luvc_num_requests_waiting", "luvc_promised_bytes",
          "luvc_tower_pixels")  # fmt: skip
_DECODER_GAUGES = ("ray_luvc_num_requests_running", "ray_luvc_num_requests_waiting",
         "ray_luvc_kv_cache_usage_ratio")  # fmt: skip
# What an encoder logs when a call to the store fails, also one that gives a lease back.
_FAILURE = "luvc_core.store.redis: the store at"
# What replicas log when they have ended a request, and when no KV cache is held any more.
_ENDED = re.compile(r"request \S+ (left|answered) after")
_IDLE = "idle: no request holds keys and values"


async def cancels(testbed: Testbed) -> list[Row]:
    """Cancel requests; admission, KV cache, held blobs and leases must be free within a second."""
    moments = random.Random(0)
    longest = testbed.size.seconds / 2
    asked = [
        Question(f"Cancel {i}", testbed.questions[i % len(testbed.questions)].files, 300)
        for i in range(testbed.size.cancels)
    ]
    # Some of it not in the store, so that leases and the tower are left in the middle, too.
    testbed.store.client.flushall()
    failures, expired = testbed.first_encoder.log.count(_FAILURE), testbed.store.expired_count
    async with testbed.asking(testbed.first_encoder) as asker:
        leaving = [_leave(asker, question, moments.uniform(0, longest)) for question in asked]
        outcomes = await asyncio.gather(*leaving)
        left, left_at = time.monotonic(), time.time()
        encoder_free = await _until(
            testbed, left, lambda: _sum(testbed.first_encoder.scrape(), _ENCODER_GAUGES)
        )
        leases = await _until(testbed, left, lambda: testbed.store.lease_count)
        # These gauges come late: they say that it is free, and the log says since when.
        await _until(testbed, left, lambda: _sum(testbed.decoder.scrape(), _DECODER_GAUGES))
        free_at = time.time()
        # Whoever comes next finds everything free.
        outcomes += await _ask_every_replica(testbed, asker)
    decoder_free = _freed(testbed, left_at, free_at)
    failed = testbed.first_encoder.log.count(_FAILURE) - failures
    expired = testbed.store.expired_count - expired
    facts = {
        "encoder_free_s": encoder_free, "leases_free_s": leases, "decoder_free_s": decoder_free,
        "store_failures": failed, "leases_expired": expired,
    }  # fmt: skip
    allowed = testbed.size.free_seconds
    demands = {
        f"the encoder was busy for {encoder_free:g} s": encoder_free <= allowed,
        f"leases lasted {leases:g} s": leases <= allowed,
        # A store that is too slow to be told keeps a lease for its time.
        f"{expired} leases were not given back": not expired or failed > 0,
        f"the decoder was busy for {decoder_free:g} s": decoder_free <= allowed,
    }
    return [row("callers leave", outcomes, facts, demands, ("CANCELLED", "RESOURCE_EXHAUSTED"))]


async def _leave(asker: Asker, question: Question, after: float) -> Outcome:
    """Ask, and cancel after so many seconds."""
    start = time.monotonic()
    stream = asker.client.stream(
        question.text, *question.files, max_tokens=question.max_tokens,
        timeout=asker.patience, retries=0,
    )  # fmt: skip
    asyncio.get_running_loop().call_later(after, stream.cancel)
    try:
        async with asyncio.timeout(after + asker.patience):
            await stream.answer()
    except LuvcError as error:
        return Outcome(ending_of(error.code), error.code, time.monotonic() - start)
    except TimeoutError:
        return Outcome("hung", "none", time.monotonic() - start)
    return Outcome("answered", "OK", time.monotonic() - start)


async def _until(testbed: Testbed, left: float, busy: Callable[[], float]) -> float:
    """Wait until nothing is busy or patience ends; return the seconds since all had left."""
    with suppress(TimeoutError):
        async with asyncio.timeout(testbed.size.patience):
            while await asyncio.to_thread(busy):
                await asyncio.sleep(0.05)
    return round(time.monotonic() - left, 2)


async def _ask_every_replica(testbed: Testbed, asker: Asker) -> list[Outcome]:
    """Ask until each replica has logged an answer, so that its log holds all that it did before."""
    outcomes: list[Outcome] = []
    start = time.time()
    silent = set(testbed.replicas)
    async with asyncio.timeout(testbed.size.patience):
        while silent:
            outcomes += await asker.all_of(testbed.questions, concurrent=len(testbed.questions))
            silent -= {r.pid for r in testbed.records if r.time > start and _ENDED.match(r.message)}
    return outcomes


def _freed(testbed: Testbed, left_at: float, free_at: float) -> float:
    """Return the seconds until the last replica had ended the last request.

    They count from when all callers had left.
    """
    ends = [
        record.time
        for record in testbed.records
        if left_at < record.time < free_at
        and (record.message == _IDLE or _ENDED.match(record.message))
    ]
    return round(max(ends, default=left_at) - left_at, 2)


def _sum(samples: dict[str, float], names: tuple[str, ...]) -> float:
    """Add up gauges; one that nobody reports counts as infinite, not as zero."""
    return sum(samples.get(name, math.inf) for name in names)
