"""All cases in order, and a run of some of them."""

import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks.chaos.cancels import cancels
from benchmarks.chaos.encoder_faults import encoder_faults
from benchmarks.chaos.hostile import hostile
from benchmarks.chaos.outcomes import Row, table
from benchmarks.chaos.overload import crowd
from benchmarks.chaos.redis_faults import quick_store_faults, store_faults
from benchmarks.chaos.replica_kills import kills, quick_kills
from benchmarks.chaos.single_flight import single_flight
from benchmarks.chaos.tenants import tenants
from benchmarks.chaos.testbed import Size, Testbed, running_testbed

Case = Callable[[Testbed], Awaitable[list[Row]]]
# Cases that kill come last, so that the others find every process as it was started.
CASES: dict[str, Case] = {
    "crowd": crowd,
    "cancels": cancels,
    "tenants": tenants,
    "hostile": hostile,
    "redis": store_faults,
    "flight": single_flight,
    "encoder": encoder_faults,
    "replicas": kills,
}
# Starting encoders again takes longest; hostile inputs have a test of their own.
QUICK_CASES = {name: case for name, case in CASES.items() if name not in ("encoder", "hostile")}
QUICK_CASES |= {"redis": quick_store_faults, "replicas": quick_kills}


async def run(cases: Sequence[Case], size: Size) -> list[Row]:
    """Run cases on one testbed and return their rows.

    The logs of the services stay where a case found a fault. Raises what starting the services
    raises.
    """
    rows: list[Row] = []
    folder = Path(tempfile.mkdtemp(prefix="luvc-chaos-"))
    async with running_testbed(size, folder) as testbed:
        for case in cases:
            start = time.monotonic()
            found = await case(testbed)
            rows += found
            print(f"{time.monotonic() - start:.0f} s\n{table(found)}", file=sys.stderr, flush=True)
    if any(row.faults for row in rows):
        print(f"the logs are in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return rows
