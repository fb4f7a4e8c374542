"""Callers that leave at any moment, and what they leave behind."""

import asyncio
import math
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress

from luvc import LuvcError

from benchmarks.chaos.judged_load import Asker, Question
from benchmarks.chaos.outcomes import TYPED, Ending, Outcome, Row, row
from benchmarks.chaos.testbed import Stage

_FRONT = ("luvc_num_requests_running", "luvc_num_requests_waiting", "luvc_promised_bytes",
          "luvc_tower_pixels")  # fmt: skip
_BACK = ("ray_luvc_num_requests_running", "ray_luvc_num_requests_waiting",
         "ray_luvc_kv_cache_usage_ratio")  # fmt: skip
# Of any call to the store, giving leases back included.
_FAILURE = "luvc_core.store.redis: the store at"
# What replicas log as places, and as room for keys and values, come free.
_ENDED = re.compile(r"request \S+ (left|answered) after")
_IDLE = "idle: no request holds keys and values"


async def cancels(stage: Stage) -> list[Row]:
    """Places, room for keys and values, promises and leases are free again within a second."""
    moments = random.Random(0)
    longest = stage.size.seconds / 2
    asked = [
        Question(f"Cancel {i}", stage.questions[i % len(stage.questions)].files, 300)
        for i in range(stage.size.cancels)
    ]
    # Some of it not in the store, so that leases and the tower are left in the middle, too.
    stage.store.client.flushall()
    failures, expired = stage.one.log.count(_FAILURE), stage.store.expired_count
    async with stage.asking(stage.one) as asker:
        leaving = [_leave(asker, question, moments.uniform(0, longest)) for question in asked]
        outcomes = await asyncio.gather(*leaving)
        left, left_at = time.monotonic(), time.time()
        front = await _until(stage, left, lambda: _sum(stage.one.scrape(), _FRONT))
        leases = await _until(stage, left, lambda: stage.store.lease_count)
        # These gauges come late: they say that it is free, and the log says since when.
        await _until(stage, left, lambda: _sum(stage.decoder.scrape(), _BACK))
        free_at = time.time()
        # Whoever comes next finds everything free.
        outcomes += await _ask_every_replica(stage, asker)
    back = _freed(stage, left_at, free_at)
    failed = stage.one.log.count(_FAILURE) - failures
    expired = stage.store.expired_count - expired
    facts = {
        "encoder_free_s": front, "leases_free_s": leases, "decoder_free_s": back,
        "store_failures": failed, "leases_expired": expired,
    }  # fmt: skip
    most = stage.size.free_seconds
    demands = {
        f"the encoder was busy for {front:g} s": front <= most,
        f"leases lasted {leases:g} s": leases <= most,
        # A store that is too slow to be told keeps a lease for its time.
        f"{expired} leases were not given back": not expired or failed > 0,
        f"the decoder was busy for {back:g} s": back <= most,
    }
    return [row("callers leave", outcomes, facts, demands, ("CANCELLED", "RESOURCE_EXHAUSTED"))]


async def _leave(asker: Asker, question: Question, after: float) -> Outcome:
    """Ask, and be gone after so many seconds."""
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
        ending: Ending = "typed_error" if error.code in TYPED else "lost"
        return Outcome(ending, error.code, time.monotonic() - start)
    except TimeoutError:
        return Outcome("hung", "none", time.monotonic() - start)
    return Outcome("answered", "OK", time.monotonic() - start)


async def _until(stage: Stage, left: float, busy: Callable[[], float]) -> float:
    """Seconds after everybody had left at which nothing was busy any more, or patience ended."""
    with suppress(TimeoutError):
        async with asyncio.timeout(stage.size.patience):
            while await asyncio.to_thread(busy):
                await asyncio.sleep(0.05)
    return round(time.monotonic() - left, 2)


async def _ask_every_replica(stage: Stage, asker: Asker) -> list[Outcome]:
    """Questions until the log has an answer of each replica, and so all that it did before."""
    outcomes: list[Outcome] = []
    start = time.time()
    silent = set(stage.replicas)
    async with asyncio.timeout(stage.size.patience):
        while silent:
            outcomes += await asker.all_of(stage.questions, concurrent=len(stage.questions))
            silent -= {r.pid for r in stage.records if r.time > start and _ENDED.match(r.message)}
    return outcomes


def _freed(stage: Stage, left_at: float, free_at: float) -> float:
    """Seconds after everybody had left at which the last replica had ended the last request."""
    ends = [
        record.time
        for record in stage.records
        if left_at < record.time < free_at
        and (record.message == _IDLE or _ENDED.match(record.message))
    ]
    return round(max(ends, default=left_at) - left_at, 2)


def _sum(samples: dict[str, float], names: tuple[str, ...]) -> float:
    """What nobody reports is not zero."""
    return sum(samples.get(name, math.inf) for name in names)
