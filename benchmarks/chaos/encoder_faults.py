"""The encoder killed, paused and restarted under load."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.chaos.outcomes import Row, row
from benchmarks.chaos.testbed import Stage
from benchmarks.common.restartable import Half

Trouble = Callable[[Stage, Half], Coroutine[Any, Any, None]]


async def encoder_faults(stage: Stage) -> list[Row]:
    """What a client sees of an encoder in trouble: answers, and UNAVAILABLE while it is gone."""
    rows = []
    for name, trouble in TROUBLES.items():
        for retries in (0, 12):
            async with stage.asking(stage.two, retries) as asker:
                outcomes = await asker.during(
                    trouble(stage, stage.two), stage.questions, stage.size.load
                )
            # At the end it serves as if nothing had been.
            async with stage.asking(stage.two) as asker:
                outcomes += await asker.all_of(stage.questions, concurrent=1)
            whole = all(o.ending == "answered" for o in outcomes[-len(stage.questions) :])
            case = f"encoder {name}" + (", sent again" if retries else "")
            demands = {"it does not serve again": whole}
            rows.append(row(case, outcomes, demands=demands, codes=CODES[name]))
    return rows


async def _kill(stage: Stage, front: Half) -> None:
    await asyncio.sleep(stage.size.seconds / 4)
    await asyncio.to_thread(front.kill)
    await _start(stage, front)


async def _restart(stage: Stage, front: Half) -> None:
    await asyncio.sleep(stage.size.seconds / 4)
    await asyncio.to_thread(front.stop)
    await _start(stage, front)


async def _start(stage: Stage, front: Half) -> None:
    await asyncio.to_thread(lambda: front.start().wait_ready(stage.size.start_seconds))
    await asyncio.sleep(stage.size.seconds / 4)


async def _pause(stage: Stage, front: Half) -> None:
    await asyncio.sleep(stage.size.seconds / 4)
    front.pause()
    try:
        await asyncio.sleep(stage.size.seconds)
    finally:
        front.resume()


TROUBLES: dict[str, Trouble] = {"killed": _kill, "paused": _pause, "restarted": _restart}
# A process that is gone cannot say more than UNAVAILABLE; one that stands still loses nothing.
CODES = {"killed": ("UNAVAILABLE",), "restarted": ("UNAVAILABLE",), "paused": ()}
