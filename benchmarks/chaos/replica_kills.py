"""Kill replicas of the decoder with signal 9 in the middle of their answers."""

import asyncio
import os
import random
import signal

from benchmarks.chaos.outcomes import Outcome, Row, row
from benchmarks.chaos.testbed import Testbed

# With so many kills one of them must end an answer.
_MANY = 5
_RETRIES = 12


async def kills(testbed: Testbed) -> list[Row]:
    """Check that answers may end UNAVAILABLE without the client's retry, and never with it."""
    rows = []
    for retries in (0, _RETRIES):
        before = len(testbed.killed)
        async with testbed.asking(testbed.first_encoder, retries) as asker:
            trouble = _kill_one_after_another(testbed)
            outcomes = await asker.during(trouble, testbed.questions, testbed.size.load)
        rows.append(_judged(testbed, retries, outcomes, len(testbed.killed) - before))
    return rows


async def quick_kills(testbed: Testbed) -> list[Row]:
    """Run the same kills for callers with and without retries at once.

    Most of the time is what a replica takes to start, so both share it.
    """
    before, few = len(testbed.killed), testbed.size.load // 2
    async with (
        testbed.asking(testbed.first_encoder) as hasty,
        testbed.asking(testbed.first_encoder, _RETRIES) as patient,
    ):
        over = asyncio.create_task(_kill_one_after_another(testbed))
        first, second = await asyncio.gather(
            *(a.during(_end_of(over), testbed.questions, few) for a in (hasty, patient))
        )
    killed = len(testbed.killed) - before
    return [_judged(testbed, 0, first, killed), _judged(testbed, _RETRIES, second, killed)]


async def _end_of(trouble: asyncio.Task[None]) -> None:
    await trouble


def _judged(testbed: Testbed, retries: int, outcomes: list[Outcome], killed: int) -> Row:
    demands = {f"{killed} kills": killed == testbed.size.kills}
    hit = sum(o.code == "UNAVAILABLE" for o in outcomes)
    if not retries:
        demands["no kill hit an answer"] = hit > 0 or killed < _MANY
    else:
        answered = sum(o.ending == "answered" for o in outcomes)
        demands["not all were answered"] = answered == len(outcomes)
    name = "killed replicas, sent again" if retries else "killed replicas"
    return row(name, outcomes, {"kills": killed}, demands, ("UNAVAILABLE",))


async def _kill_one_after_another(testbed: Testbed) -> None:
    for number in range(testbed.size.kills):
        await _both_ready(testbed)
        # Long enough for both to be in the middle of answers.
        await asyncio.sleep(random.Random(number).uniform(1.0, 2.0))
        pid = testbed.replicas[0]
        os.kill(pid, signal.SIGKILL)
        testbed.killed.add(pid)
    await _both_ready(testbed)


async def _both_ready(testbed: Testbed) -> None:
    """Wait until Ray has replaced the replica that was killed."""
    async with asyncio.timeout(testbed.size.start_seconds):
        while len(testbed.replicas) < 2:
            await asyncio.sleep(0.1)
