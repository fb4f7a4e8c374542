"""Send more requests at once than the queues hold."""

import itertools
import statistics

from benchmarks.chaos.outcomes import Row, row
from benchmarks.chaos.testbed import Testbed
from benchmarks.common.process_memory import resident_mib

MOST_GROWTH_MIB = 256.0


async def crowd(testbed: Testbed) -> list[Row]:
    """Check that each request ends in an answer or a refusal, and that memory stays bounded."""
    return [await _all_at_once(testbed, retries=0), await _all_at_once(testbed, retries=20)]


async def _all_at_once(testbed: Testbed, retries: int) -> Row:
    count = testbed.size.crowd
    asked = list(itertools.islice(itertools.cycle(testbed.questions), count))
    before = _memory(testbed)
    async with testbed.asking(testbed.small_encoder, retries) as asker:
        outcomes = await asker.all_of(asked, concurrent=count)
    growth = _memory(testbed) - before
    refused = [o.seconds for o in outcomes if o.code == "RESOURCE_EXHAUSTED"]
    facts = {"grown_mib": round(growth, 1)}
    if refused:
        facts["refused_p50_ms"] = round(1000 * statistics.median(refused), 1)
    name = f"{count} at once" + (", sent again" if retries else "")
    bounded = {f"memory grew by {growth:.0f} MiB": growth < MOST_GROWTH_MIB}
    return row(name, outcomes, facts, bounded, ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"))


def _memory(testbed: Testbed) -> float:
    return sum(resident_mib(pid) for pid in (testbed.small_encoder.pid, *testbed.replicas))
