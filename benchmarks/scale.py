"""Encoders that come and go with the pictures, under load, while the decoder stays as it is.

`make bench-scale`, or `python -m benchmarks.scale`. Questions with large pictures and answers of a
word or two come from few clients, then from many, then from few again, balanced by the clients over
a list of addresses, as behind a headless Service. What a HorizontalPodAutoscaler would do is done
here, by its rule and its metric, luvc_tower_pixels. Writes `results/scale.json`.
"""

import argparse
import io
import math
import random
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path

from luvc import Client
from luvc.ports import free_port
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import report
from benchmarks.running import HERE, Load, Service, Services, load

SIDE = 672
MOST = 2
COMMON = ("--device=cpu", "--torch-threads=1")
PHASES = (("few", 1), ("many", 8), ("few", 1))


@dataclass(frozen=True)
class Row:
    """A phase of the load. encoders: how many there were, in order of their changes. by_encoder:
    calls that each answered. decoders: processes that served."""

    load: str
    clients: int
    requests: int
    failed: int
    seconds: float
    encoders: tuple[int, ...]
    by_encoder: tuple[int, ...]
    decoders: int


@dataclass
class Pool:
    """Encoders, at addresses that are known beforehand, and their autoscaler."""

    services: Services
    decoder: str
    target: float
    window: float
    patience: float
    ports: list[tuple[int, int]] = field(default_factory=lambda: [
        (free_port(), free_port()) for _ in range(MOST)
    ])  # fmt: skip
    running: list[Service] = field(default_factory=list)
    history: list[int] = field(default_factory=list)
    changed_at: float = 0.0
    # Samples of a minute, as the adapter's query takes their maximum: moment, pixels of all.
    _samples: list[tuple[float, float]] = field(default_factory=list)
    _wanted: list[tuple[float, int]] = field(default_factory=list)

    def grow(self) -> None:
        """One more, which takes calls once it has loaded."""
        port, metrics = self.ports[len(self.running)]
        encoder = self.services.start(
            "encoder", HERE, *COMMON, f"--decoder={self.decoder}", f"--metrics-port={metrics}",
            "--store=none", "--grace=60", port=port,
        )  # fmt: skip
        encoder.wait_ready(self.patience)
        self.running.append(encoder)
        self._changed()

    def shrink(self) -> None:
        """One fewer, which finishes what it has."""
        self.running.pop().stop()
        self._changed()

    def _changed(self) -> None:
        self.history.append(len(self.running))
        self.changed_at = time.monotonic()

    def step(self) -> None:
        """Sample, and do what the rule says: up at once, down when nothing else was wanted for the
        whole window."""
        now = time.monotonic()
        self._samples.append((now, sum(self.pixels(i) for i in range(len(self.running)))))
        self._samples = [s for s in self._samples if now - s[0] < self.window / 2]
        most = max(pixels for _, pixels in self._samples)
        wanted = min(MOST, max(1, math.ceil(most / self.target)))
        self._wanted.append((now, wanted))
        self._wanted = [w for w in self._wanted if now - w[0] < self.window]
        if wanted > len(self.running):
            self.grow()
        elif max(w for _, w in self._wanted) < len(self.running):
            self.shrink()

    def pixels(self, i: int) -> float:
        return self._read(i, "luvc_tower_pixels")

    def answered(self) -> tuple[int, ...]:
        """Calls by encoder, of those that run."""
        return tuple(
            int(self._read(i, "luvc_requests_total", method="Generate", code="OK"))
            for i in range(len(self.running))
        )

    def _read(self, i: int, name: str, **labels: str) -> float:
        url = f"http://127.0.0.1:{self.ports[i][1]}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            text = response.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0


def measure(seconds: float, window: float, patience: float) -> list[Row]:
    """A row for each phase, which lasts so long after the number of encoders has followed it, or
    five times as long where it does not."""
    rows = []
    with tempfile.TemporaryDirectory() as logs, Services(Path(logs)) as services:
        decoder = services.start("decoder", HERE, *COMMON, f"--http-port={free_port()}",
                                 "--ray-cpus=1")  # fmt: skip
        decoder.wait_ready(patience)
        # Two pictures an encoder: in the tower, or waiting for it.
        pool = Pool(services, decoder.endpoint, 2 * SIDE * SIDE, window, patience)
        pool.grow()
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port, _ in pool.ports)
        for name, clients in PHASES:
            pool.history = [len(pool.running)]
            start, before = time.monotonic(), pool.answered()
            wanted = MOST if clients > 1 else 1
            with load(target, clients, ask) as found:
                while not _is_over(start, seconds, pool, wanted):
                    pool.step()
                    time.sleep(1)
                by_encoder = pool.answered()
            # One that came meanwhile began at none; of one that went nothing can be read.
            earlier = (*before, *[0] * MOST)
            counts = tuple(now - then for now, then in zip(by_encoder, earlier, strict=False))
            rows.append(_row(name, clients, found, start, pool, counts))
            assert decoder.child.status is None
    return rows


def _is_over(start: float, seconds: float, pool: Pool, wanted: int) -> bool:
    calm = time.monotonic() - max(start, pool.changed_at)
    return calm > (seconds if len(pool.running) == wanted else 5 * seconds)


def _row(
    name: str, clients: int, found: Load, start: float, pool: Pool, by_encoder: tuple[int, ...]
) -> Row:
    row = Row(
        name, clients, found.asked, found.failed, round(time.monotonic() - start, 1),
        tuple(pool.history), by_encoder, 1,
    )  # fmt: skip
    print(f"{row}", *found.errors.items(), sep="\n  ", file=sys.stderr)
    return row


def ask(client: Client, number: int) -> None:
    """About a picture that nobody has seen before."""
    picture = Image.effect_noise((SIDE, SIDE), random.Random(number).uniform(10, 90))
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG")
    client.ask("What?", buffer.getvalue(), max_tokens=1, profile="max", timeout=110)


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="of a phase, at least")
    parser.add_argument("--window", type=float, default=20.0, help="seconds before one goes")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds for a start")
    parser.add_argument("--out", default="scale", help="name in results/ (default: %(default)s)")
    o = parser.parse_args()
    rows = measure(o.seconds, o.window, o.patience)
    header = ("load", "clients", "requests", "failed", "seconds", "encoders", "by encoder",
              "decoders")  # fmt: skip
    print(report.table(header, [tuple(asdict(row).values()) for row in rows]))
    content = {"machine": report.machine(), "rows": [asdict(row) for row in rows]}
    report.write(o.out, content)
    followed = [row.encoders[-1] for row in rows] == [1, MOST, 1]
    return 0 if followed and not any(row.failed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
