"""Replicas of the decoder, killed with signal 9 in the middle of their answers."""

import asyncio
import os
import random
import signal

from benchmarks.chaos.outcomes import Row, row
from benchmarks.chaos.stage import Stage

# So many kills that one of them must end an answer.
_MANY = 5


async def kills(stage: Stage) -> list[Row]:
    """Without the client's retry an answer may end UNAVAILABLE; with it, none does."""
    rows = []
    for retries, name in ((0, "killed replicas"), (12, "killed replicas, sent again")):
        before = len(stage.killed)
        async with stage.asking(stage.one, retries) as asker:
            trouble = _kill_one_after_another(stage)
            outcomes = await asker.during(trouble, stage.questions, stage.size.load)
        killed = len(stage.killed) - before
        demands = {f"{killed} kills": killed == stage.size.kills}
        hit = sum(o.code == "UNAVAILABLE" for o in outcomes)
        if not retries:
            demands["no kill hit an answer"] = hit > 0 or killed < _MANY
        else:
            answered = sum(o.ending == "answered" for o in outcomes)
            demands["not all were answered"] = answered == len(outcomes)
        rows.append(row(name, outcomes, {"kills": killed}, demands, ("UNAVAILABLE",)))
    return rows


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
