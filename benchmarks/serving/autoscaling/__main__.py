"""Run `make bench-scale`: encoders scale by images, replicas by visual tokens that wait."""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from luvc.local_stack.ending import end_in_order

from benchmarks.common import report
from benchmarks.common.service_processes import Services
from benchmarks.serving.autoscaling import decoders, encoders
from benchmarks.serving.autoscaling.load_phases import Row, followed

PARTS = {"encoders": encoders.measure, "decoders": decoders.measure}


def main() -> int:
    """Measure, print and write; return 1 where a half did not follow the load, or a call failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=40.0, help="of a phase, at least")
    parser.add_argument("--window", type=float, default=20.0, help="seconds before one goes")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds for a start")
    parser.add_argument("--out", default="scale", help="name in results/ (default: %(default)s)")
    o = parser.parse_args()
    rows: list[Row] = []
    for part in o.parts:
        with tempfile.TemporaryDirectory() as logs, Services(Path(logs)) as services:
            rows += PARTS[part](services, o.seconds, o.window, o.patience)
    header = ("scaled", "load", "clients", "requests", "failed", "seconds", "encoders",
              "replicas", "answered by each")  # fmt: skip
    print(report.table(header, [tuple(asdict(row).values()) for row in rows]))
    report.write(o.out, {"machine": report.machine(), "rows": [asdict(row) for row in rows]})
    return 0 if followed(rows) and not any(row.failed for row in rows) else 1


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
