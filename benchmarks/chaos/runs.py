"""All cases in order, and a run of some of them."""

import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks.chaos.cancels import cancels
from benchmarks.chaos.crowd import crowd
from benchmarks.chaos.flight import single_flight
from benchmarks.chaos.fronts import encoder_faults
from benchmarks.chaos.outcomes import Row
from benchmarks.chaos.replicas import kills
from benchmarks.chaos.stage import Size, Stage, staged
from benchmarks.chaos.stores import quick_store_faults, store_faults
from benchmarks.chaos.tenants import tenants

Case = Callable[[Stage], Awaitable[list[Row]]]
# Those that kill come last: what is measured before finds every process as it was started.
CASES: dict[str, Case] = {
    "crowd": crowd,
    "cancels": cancels,
    "tenants": tenants,
    "redis": store_faults,
    "flight": single_flight,
    "encoder": encoder_faults,
    "replicas": kills,
}
QUICK_CASES = CASES | {"redis": quick_store_faults}
del QUICK_CASES["encoder"]


async def run(cases: Sequence[Case], size: Size) -> list[Row]:
    """All rows of these cases, on one stage. Raises what starting the services raises."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="luvc-chaos-") as folder:
        async with staged(size, Path(folder)) as stage:
            for case in cases:
                start = time.monotonic()
                found = await case(stage)
                rows += found
                names = ", ".join(row.case for row in found)
                print(f"{names}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return rows
