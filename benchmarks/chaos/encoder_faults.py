"""Kill, pause and restart an encoder under load."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.chaos.outcomes import Row, row
from benchmarks.chaos.testbed import Testbed
from benchmarks.common.service_processes import RestartableService

Trouble = Callable[[Testbed, RestartableService], Coroutine[Any, Any, None]]


async def encoder_faults(testbed: Testbed) -> list[Row]:
    """Check that clients see answers, and UNAVAILABLE only while the encoder is gone."""
    rows = []
    for name, trouble in TROUBLES.items():
        for retries in (0, 12):
            async with testbed.asking(testbed.second_encoder, retries) as asker:
                outcomes = await asker.during(
                    trouble(testbed, testbed.second_encoder), testbed.questions, testbed.size.load
                )
            # At the end it serves as if nothing had been.
            async with testbed.asking(testbed.second_encoder) as asker:
                outcomes += await asker.all_of(testbed.questions, concurrent=1)
            whole = all(o.ending == "answered" for o in outcomes[-len(testbed.questions) :])
            case = f"encoder {name}" + (", sent again" if retries else "")
            demands = {"it does not serve again": whole}
            rows.append(row(case, outcomes, demands=demands, codes=CODES[name]))
    return rows


async def _kill(testbed: Testbed, encoder: RestartableService) -> None:
    await asyncio.sleep(testbed.size.seconds / 4)
    await asyncio.to_thread(encoder.kill)
    await _start(testbed, encoder)


async def _restart(testbed: Testbed, encoder: RestartableService) -> None:
    await asyncio.sleep(testbed.size.seconds / 4)
    await asyncio.to_thread(encoder.stop)
    await _start(testbed, encoder)


async def _start(testbed: Testbed, encoder: RestartableService) -> None:
    await asyncio.to_thread(lambda: encoder.start().wait_ready(testbed.size.start_seconds))
    await asyncio.sleep(testbed.size.seconds / 4)


async def _pause(testbed: Testbed, encoder: RestartableService) -> None:
    await asyncio.sleep(testbed.size.seconds / 4)
    encoder.pause()
    try:
        await asyncio.sleep(testbed.size.seconds)
    finally:
        encoder.resume()


TROUBLES: dict[str, Trouble] = {"killed": _kill, "paused": _pause, "restarted": _restart}
# A process that is gone cannot say more than UNAVAILABLE; one that stands still loses nothing.
CODES = {"killed": ("UNAVAILABLE",), "restarted": ("UNAVAILABLE",), "paused": ()}
