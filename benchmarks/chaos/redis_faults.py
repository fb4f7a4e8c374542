"""Bring Redis into every kind of trouble while encoders and replicas use it."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from benchmarks.chaos.corrupt_values import HARMS
from benchmarks.chaos.outcomes import Row, row
from benchmarks.chaos.testbed import Testbed
from benchmarks.common.redis_server import RestartableRedis

Trouble = Callable[[RestartableRedis, float], Coroutine[Any, Any, None]]
_FAILURES, _BAD = "luvc_store_failures_total", "luvc_store_bad_values_total"
# After a failure encoders ask for nothing for a second.
_PASSED_BY_SECONDS = 1.5
# What says in the encoder's metrics that it noticed.
_NOTICED = {"harmed": _BAD, "killed": _FAILURES, "paused": _FAILURES, "full": _FAILURES,
            "password changed": _FAILURES}  # fmt: skip


async def store_faults(testbed: Testbed) -> list[Row]:
    """Check that no trouble of the store costs an answer or makes one wrong."""
    return [await _case(testbed, name) for name in TROUBLES]


async def quick_store_faults(testbed: Testbed) -> list[Row]:
    """Run one trouble of each kind: gone, emptied, corrupted."""
    names = ("killed", "flushed", "harmed: bits flipped")
    return [await _case(testbed, name) for name in names]


async def _case(testbed: Testbed, name: str) -> Row:
    before = testbed.first_encoder.scrape()
    async with testbed.asking(testbed.first_encoder, retries=3) as asker:
        trouble = TROUBLES[name](testbed.store, testbed.size.seconds)
        outcomes = await asker.during(trouble, testbed.questions, testbed.size.load)
        await asyncio.sleep(_PASSED_BY_SECONDS)
        outcomes += await asker.all_of(testbed.questions, concurrent=1)
    after = testbed.first_encoder.scrape()
    facts = {
        "store_failures": after[_FAILURES] - before[_FAILURES],
        "bad_values": after[_BAD] - before[_BAD],
        "degradations": after["luvc_degradations_total"] - before["luvc_degradations_total"],
    }
    noticed = _NOTICED.get(name.partition(":")[0])
    demands = {
        "nobody noticed": noticed is None or after[noticed] > before[noticed],
        "it is not used again": len(testbed.store.values) >= len(testbed.questions),
    }
    return row(f"redis {name}", outcomes, facts, demands, codes=())


async def _killed(store: RestartableRedis, seconds: float) -> None:
    await asyncio.sleep(seconds / 4)
    await asyncio.to_thread(store.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(store.start)


async def _paused(store: RestartableRedis, seconds: float) -> None:
    await asyncio.sleep(seconds / 4)
    pid = store.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


async def _slow(store: RestartableRedis, seconds: float) -> None:
    """Make every command wait up to 300 ms; the encoder's limit is 500."""
    for _ in range(max(1, round(seconds / 0.4))):
        await asyncio.to_thread(store.client.execute_command, "CLIENT", "PAUSE", 300, "ALL")
        await asyncio.sleep(0.4)


async def _full(store: RestartableRedis, seconds: float) -> None:
    """Let the store take nothing more, and evict nothing."""
    store.client.flushall()
    store.client.config_set("maxmemory-policy", "noeviction")
    store.client.config_set("maxmemory", "1")
    try:
        await asyncio.sleep(seconds)
    finally:
        store.client.config_set("maxmemory", "0")


async def _password(store: RestartableRedis, seconds: float) -> None:
    """Change the password without telling the services."""
    store.client.config_set("requirepass", "another")
    store.client.execute_command("AUTH", "another")
    store.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    try:
        await asyncio.sleep(seconds)
    finally:
        store.client.config_set("requirepass", "")


async def _flushed(store: RestartableRedis, seconds: float) -> None:
    for _ in range(10):
        await asyncio.sleep(seconds / 10)
        store.client.flushall()


async def _harmed(kind: str, store: RestartableRedis, seconds: float) -> None:
    """Corrupt every value, ten times."""
    for _ in range(10):
        await asyncio.sleep(seconds / 10)
        await asyncio.to_thread(HARMS[kind], store)


TROUBLES: dict[str, Trouble] = {
    "killed": _killed,
    "paused": _paused,
    "slow": _slow,
    "full": _full,
    "password changed": _password,
    "flushed": _flushed,
    **{f"harmed: {kind}": partial(_harmed, kind) for kind in HARMS},
}
