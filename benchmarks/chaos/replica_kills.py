"""Replicas of the decoder, killed with signal 9 in the middle of their answers."""

import asyncio
import os
import random
import signal

from benchmarks.chaos.outcomes import Outcome, Row, row
from benchmarks.chaos.testbed import Stage

# So many kills that one of them must end an answer.
_MANY = 5
_RETRIES = 12


async def kills(stage: Stage) -> list[Row]:
    """Without the client's retry an answer may end UNAVAILABLE; with it, none does."""
    rows = []
    for retries in (0, _RETRIES):
        before = len(stage.killed)
        async with stage.asking(stage.one, retries) as asker:
            trouble = _kill_one_after_another(stage)
            outcomes = await asker.during(trouble, stage.questions, stage.size.load)
        rows.append(_judged(stage, retries, outcomes, len(stage.killed) - before))
    return rows


async def quick_kills(stage: Stage) -> list[Row]:
    """Half of the callers send again and half do not, through the same kills: most of the time is
    what a replica takes to start."""
    before, few = len(stage.killed), stage.size.load // 2
    async with stage.asking(stage.one) as hasty, stage.asking(stage.one, _RETRIES) as patient:
        over = asyncio.create_task(_kill_one_after_another(stage))
        first, second = await asyncio.gather(
            *(a.during(_end_of(over), stage.questions, few) for a in (hasty, patient))
        )
    killed = len(stage.killed) - before
    return [_judged(stage, 0, first, killed), _judged(stage, _RETRIES, second, killed)]


async def _end_of(trouble: asyncio.Task[None]) -> None:
    await trouble


def _judged(stage: Stage, retries: int, outcomes: list[Outcome], killed: int) -> Row:
    demands = {f"{killed} kills": killed == stage.size.kills}
    hit = sum(o.code == "UNAVAILABLE" for o in outcomes)
    if not retries:
        demands["no kill hit an answer"] = hit > 0 or killed < _MANY
    else:
        answered = sum(o.ending == "answered" for o in outcomes)
        demands["not all were answered"] = answered == len(outcomes)
    name = "killed replicas, sent again" if retries else "killed replicas"
    return row(name, outcomes, {"kills": killed}, demands, ("UNAVAILABLE",))


async def _kill_one_after_another(stage: Stage) -> None:
    for number in range(stage.size.kills):
        await _both_ready(stage)
        # Long enough for both to be in the middle of answers.
        await asyncio.sleep(random.Random(number).uniform(1.0, 2.0))
        pid = stage.replicas[0]
        os.kill(pid, signal.SIGKILL)
        stage.killed.add(pid)
    await _both_ready(stage)


async def _both_ready(stage: Stage) -> None:
    """Ray has put another one in the place of the last."""
    async with asyncio.timeout(stage.size.start_seconds):
        while len(stage.replicas) < 2:
            await asyncio.sleep(0.1)
