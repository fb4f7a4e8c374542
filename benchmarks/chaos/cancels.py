"""Callers that leave at any moment, and what they leave behind."""

import asyncio
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress

from luvc import LuvcError

from benchmarks.chaos.load import Asker, Question
from benchmarks.chaos.outcomes import TYPED, Ending, Outcome, Row, row
from benchmarks.chaos.stage import Stage

_FRONT = ("luvc_num_requests_running", "luvc_num_requests_waiting", "luvc_promised_bytes",
          "luvc_tower_pixels")  # fmt: skip
_BACK = ("ray_luvc_num_requests_running", "ray_luvc_num_requests_waiting",
         "ray_luvc_kv_cache_usage_ratio")  # fmt: skip
MOST_SECONDS = 1.0
# Replicas set gauges twice a second, and Ray's exporter is up to a second and a half behind.
_BEHIND_SECONDS = 2.0


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
    async with stage.asking(stage.one) as asker:
        leaving = [_leave(asker, question, moments.uniform(0, longest)) for question in asked]
        outcomes = await asyncio.gather(*leaving)
        left = time.monotonic()
        front = await _until(stage, left, lambda: _sum(stage.one.scrape(), _FRONT))
        leases = await _until(stage, left, lambda: stage.store.lease_count)
        back = await _until(stage, left, lambda: _sum(stage.decoder.scrape(), _BACK))
        # Whoever comes next finds everything free.
        outcomes += await asker.all_of(stage.questions, concurrent=len(stage.questions))
    facts = {"encoder_free_s": front, "leases_free_s": leases, "decoder_free_s": back}
    demands = {
        f"the encoder was busy for {front:g} s": front <= MOST_SECONDS,
        f"leases lasted {leases:g} s": leases <= MOST_SECONDS,
        f"the decoder was busy for {back:g} s": back <= MOST_SECONDS + _BEHIND_SECONDS,
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


def _sum(samples: dict[str, float], names: tuple[str, ...]) -> float:
    """What nobody reports is not zero."""
    return sum(samples.get(name, math.inf) for name in names)
