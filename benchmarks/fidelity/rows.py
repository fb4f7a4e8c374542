"""Add up what is measured: one row for each checkpoint, task, method and reduction."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.common import report
from benchmarks.fidelity.stats import retention, retention_interval
from luvc_core.calibrate.confidence_intervals import wilson

OFF = "off"
Key = tuple[str, str, str, float | None]


@dataclass(frozen=True)
class Outcome:
    """One answer. Times in seconds.

    Attributes:
        reduction: the target, None where the method has its own.
        averaged: visual tokens of the average layer.
        source: visual tokens without compression.
        flops: of the prefill.
    """

    method: str
    reduction: float | None
    right: bool
    same: bool
    averaged: float
    source: int
    cache_bytes: int
    flops: float
    prefill_s: float
    decode_s: float


@dataclass(frozen=True)
class Row:
    """Answers of one method to one task. Intervals are of 95 %, times medians in milliseconds.

    Attributes:
        reduction: share of the source tokens that the average layer does not hold: the target, or
            what was measured where a method has its own (`matched` false).
        loyalty: share of answers equal to the uncompressed ones.
        layer_averaged_tokens: share of the source tokens that the average layer holds.
        prefill_flops: share of the uncompressed prefill's.
        cache_bytes: mean of the most that keys and values take.
        dtype: in which all of it was computed.
    """

    checkpoint: str
    task: str
    method: str
    reduction: float
    matched: bool
    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    retention: float
    retention_interval: tuple[float, float]
    loyalty: float
    loyalty_interval: tuple[float, float]
    layer_averaged_tokens: float
    source_tokens: float
    prefill_flops: float
    prefill_ms: float
    decode_ms: float
    cache_bytes: float
    dtype: str = "float32"

    @property
    def key(self) -> Key:
        return key_of(asdict(self))


def key_of(row: Mapping[str, Any]) -> Key:
    """Return what a row is about; the reduction only where it was aimed at."""
    aimed = row["reduction"] if row["matched"] else None
    return row["checkpoint"], row["task"], row["method"], aimed


def rows_of(checkpoint: str, task: str, answers: Sequence[Sequence[Outcome]]) -> list[Row]:
    """Add up the outcomes of a task.

    Args:
        checkpoint: its name.
        task: kind of question.
        answers: for each question, in order, all its outcomes, `off` among them; later questions
            may have been asked of fewer methods, and one method of the first ones only.
    """
    found: defaultdict[tuple[str, float | None], list[tuple[Outcome, Outcome]]] = defaultdict(list)
    for outcomes in answers:
        plain = next(outcome for outcome in outcomes if outcome.method == OFF)
        for outcome in outcomes:
            found[outcome.method, outcome.reduction].append((outcome, plain))
    return [_row(checkpoint, task, pairs) for pairs in found.values()]


def _row(checkpoint: str, task: str, pairs: Sequence[tuple[Outcome, Outcome]]) -> Row:
    compressed, plain = zip(*pairs, strict=True)
    n = len(compressed)
    right, right_plain = [o.right for o in compressed], [o.right for o in plain]
    same = sum(o.same for o in compressed)
    averaged = mean(o.averaged / o.source for o in compressed)
    aimed = compressed[0].reduction
    return Row(
        checkpoint=checkpoint,
        task=task,
        method=compressed[0].method,
        reduction=round(1 - averaged, 4) if aimed is None else aimed,
        matched=aimed is not None,
        n=n,
        accuracy=sum(right) / n,
        accuracy_interval=wilson(sum(right), n),
        retention=retention(right, right_plain),
        retention_interval=retention_interval(right, right_plain),
        loyalty=same / n,
        loyalty_interval=wilson(same, n),
        layer_averaged_tokens=averaged,
        source_tokens=mean(o.source for o in compressed),
        prefill_flops=sum(o.flops for o in compressed) / sum(o.flops for o in plain),
        prefill_ms=1000 * median(o.prefill_s for o in compressed),
        decode_ms=1000 * median(o.decode_s for o in compressed),
        cache_bytes=mean(o.cache_bytes for o in compressed),
    )


class Store:
    """The rows of a file; rows measured before stay until measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        before = json.loads(path.read_text())["rows"] if path.is_file() else []
        self._rows: dict[Key, dict[str, Any]] = {key_of(row): row for row in before}

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self._rows.values())

    def measured(self, key: Key) -> int:
        """Return on how many questions; 0 for not at all."""
        return int(self._rows[key]["n"]) if key in self._rows else 0

    def keep(self, rows: Sequence[Row]) -> None:
        """Keep rows and write the file at once, whole or not at all.

        A row of fewer questions never takes the place of one of more.
        """
        for row in rows:
            if row.n >= self.measured(row.key):
                self._rows[row.key] = asdict(row)
        self._path.parent.mkdir(exist_ok=True)
        fresh = self._path.with_suffix(".partial")
        content = {"machine": report.machine(), "rows": self.rows}
        fresh.write_text(json.dumps(content, indent=1) + "\n")
        fresh.replace(self._path)
