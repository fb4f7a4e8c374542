"""Run all parts of `make bench-store`; print tables, write `results/store.json` and `store.png`."""

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luvc.local_stack.ending import end_in_order
from luvc.local_stack.free_port import free_port

from benchmarks.common import report
from benchmarks.common.redis_server import RestartableRedis
from benchmarks.common.service_processes import RestartableService
from benchmarks.serving.token_transfer import inline_threshold, int8_videos, repeated_images
from benchmarks.serving.token_transfer.threshold_figure import draw

MODEL = "luvc-tiny-qwen2vl"
PARTS = ("threshold", "repeats", "clips")


def main() -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="others stay as they were measured"
    )
    parser.add_argument("--turns", type=int, default=15, help="of a size; default: %(default)s")
    parser.add_argument("--requests", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--clips", type=int, default=200, help="a kind; default: %(default)s")
    parser.add_argument("--out", default="store", help="name in results/ (default: %(default)s)")
    o = parser.parse_args()
    path = report.RESULTS / f"{o.out}.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    content |= {"machine": report.machine(), "model": MODEL}
    if set(o.parts) & {"threshold", "repeats"}:
        with tempfile.TemporaryDirectory(prefix="luvc-store-") as folder:
            content |= _with_services(o, Path(folder))
    if "clips" in o.parts:
        rows = int8_videos.measure(MODEL, o.clips)
        content["clips"] = [asdict(row) for row in rows]
        print(_table(content["clips"]))
    report.write(o.out, content)
    return 0


def _with_services(o: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the parts that need a decoder."""
    content: dict[str, Any] = {}
    store = RestartableRedis()
    decoder = RestartableService(
        "decoder", free_port(), folder, "--model", MODEL, "--http-port", str(free_port()),
        "--store", store.url,
    )  # fmt: skip
    try:
        decoder.start().wait_ready(600)
        if "threshold" in o.parts:
            points = asyncio.run(inline_threshold.curve(decoder.endpoint, store.url, turns=o.turns))
            best = inline_threshold.best_threshold(points)
            content |= {"threshold": [asdict(p) for p in points], "threshold_bytes": best}
            print(_table(content["threshold"]), f"\ninline up to {best} bytes\n")
            draw(points, best, report.RESULTS / f"{o.out}.png")
        if "repeats" in o.parts:
            found = repeated_images.measure(
                MODEL, decoder.endpoint, repeated_images.mixed(o.requests), folder, concurrent=8
            )
            content["repeats"] = [asdict(row) for row in found]
            content["repeats_ratios"] = repeated_images.ratios(found)
            print(_table(content["repeats"]), f"\n{content['repeats_ratios']}\n")
    finally:
        decoder.close()
        store.close()
    return content


def _table(rows: list[dict[str, Any]]) -> str:
    return report.table(tuple(rows[0]), [tuple(row.values()) for row in rows])


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
