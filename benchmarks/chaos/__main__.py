"""Run the cases of `make bench-chaos`: `python -m benchmarks.chaos`.

Prints a table, writes `results/chaos.json` and a section of `docs/reliability.md`. With `--quick`
it does less and writes `results/chaos_quick.json` alone.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from luvc.local_stack.ending import end_in_order

from benchmarks.chaos.cases import CASES, QUICK_CASES, run
from benchmarks.chaos.docs import section
from benchmarks.chaos.outcomes import table
from benchmarks.chaos.testbed import QUICK, Size
from benchmarks.common import report

PAGE = report.DOCS / "reliability.md"


def main() -> int:
    """Run the cases, print and write; return 1 where a case did not end as it must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of all; results are not kept")
    parser.add_argument(
        "--only", nargs="+", choices=CASES, metavar="CASE",
        help=f"add rows of these to what was kept: {', '.join(CASES)}",
    )  # fmt: skip
    parser.add_argument("--patience", type=float, help="seconds for an answer, on a slow machine")
    parser.add_argument("--load", type=int, help="callers at once")
    o = parser.parse_args()
    size = QUICK if o.quick else Size()
    given = {name: value for name in ("patience", "load") if (value := getattr(o, name))}
    size = replace(size, **given)
    cases = QUICK_CASES if o.quick else CASES
    rows = asyncio.run(run([cases[name] for name in o.only or cases if name in cases], size))
    print(table(rows))
    machine = report.machine() | {"load": round(os.getloadavg()[0], 1)}
    content: list[Mapping[str, Any]] = [asdict(row) for row in rows]
    name = "chaos_quick" if o.quick else "chaos"
    if o.only:
        content = list(report.update(name, "case", content, machine))
    else:
        report.write(name, {"machine": machine, "rows": content})
    if not o.quick:
        report.between_marks(PAGE, "chaos", section(content))
    return 1 if any(row.faults for row in rows) else 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
