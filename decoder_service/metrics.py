"""Prometheus metrics of a decoder replica, exported by Ray. All of them are defined here.

Ray's exporter on each machine serves them with `ray_` before their names, `_total` after those of
counters, and the labels deployment, replica and application beside their own. It reports every ten
seconds. Labels have few values, all known beforehand. Times are in seconds, sizes in bytes.
"""

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from luvc.v1 import usage_pb2
from luvc.wire.fields import seconds_of
from ray.serve.metrics import Counter, Gauge, Histogram

from luvc_core.runtime.histogram_buckets import GAP, LATENCY, STAGE

SAMPLE_SECONDS = 0.5
# Fields of luvc.v1.StageTimes that a replica measures.
STAGES = ("prefill_queue", "prefill", "decode")


@dataclass(frozen=True)
class Workload:
    """The work of a replica at one moment.

    Attributes:
        running: requests that hold keys and values.
        waiting: requests that wait for their turn.
        kv_usage: share of the KV budget that is in use, 0 to 1.
    """

    running: int
    waiting: int
    kv_usage: float


class Metrics:
    """Metrics of one replica. Any thread may record them."""

    def __init__(self) -> None:
        self._requests = Counter(
            "luvc_requests", "Answers that ended, by gRPC code", tag_keys=("code",)
        )
        self._first_token = _histogram(
            "luvc_time_to_first_token_seconds", "Arrival at the replica to first text", LATENCY
        )
        self._gaps = _histogram(
            "luvc_inter_token_latency_seconds", "Between two pieces of text of an answer", GAP
        )
        self._end_to_end = _histogram(
            "luvc_e2e_request_latency_seconds", "Arrival at the replica to the end", LATENCY
        )
        self._stages = _histogram("luvc_stage_seconds", "Time of a stage", STAGE, "stage")
        self._fetch = _histogram("luvc_fetch_seconds", "Fetching tokens by reference", STAGE)
        self._visual = Counter(
            "luvc_visual_tokens",
            "Visual tokens of answered requests: merged came from the encoder, layer_averaged"
            " entered the average layer",
            tag_keys=("kind",),
        )
        self._text = Counter(
            "luvc_text_tokens", "Text tokens of answered requests", tag_keys=("kind",)
        )
        self._running = Gauge("luvc_num_requests_running", "Requests that hold room in the engine")
        self._waiting = Gauge("luvc_num_requests_waiting", "Requests waiting for their turn")
        self._kv = Gauge("luvc_kv_cache_usage_ratio", "Share of the room for keys and values")

    @property
    def all(self) -> Sequence[Counter | Gauge | Histogram]:
        """All metrics of this replica."""
        return [m for m in vars(self).values() if isinstance(m, Counter | Gauge | Histogram)]

    def record_end(self, code: str) -> None:
        """Count an answer that is over. code: name of a gRPC status."""
        self._requests.inc(tags={"code": code})

    def record_gap(self, seconds: float) -> None:
        """Record the time between two pieces of one answer."""
        self._gaps.observe(seconds)

    def record_fetch(self, seconds: float) -> None:
        """Record the time that fetching all tokens of a request took."""
        self._fetch.observe(seconds)

    def record_answer(self, usage: usage_pb2.Usage) -> None:
        """Record the usage of a complete answer."""
        self._first_token.observe(seconds_of(usage.times.time_to_first_token))
        self._end_to_end.observe(seconds_of(usage.times.total))
        for stage in STAGES:
            self._stages.observe(seconds_of(getattr(usage.times, stage)), tags={"stage": stage})
        _add(self._visual, usage.merged_visual_token_count, kind="merged")
        _add(self._visual, usage.layer_averaged_visual_token_count, kind="layer_averaged")
        _add(self._text, usage.prompt_token_count, kind="prompt")
        _add(self._text, usage.completion_token_count, kind="completion")

    def sample(self, workload: Workload) -> None:
        """Set the gauges."""
        self._running.set(workload.running)
        self._waiting.set(workload.waiting)
        self._kv.set(workload.kv_usage)


def sample_for_ever(metrics: Metrics, workload: Callable[[], Workload]) -> None:
    """Set the gauges every SAMPLE_SECONDS on a thread, until the owner of `workload` is gone.

    Gauges set by requests alone would keep the value of the last request for ever.

    workload: a bound method, to which only a weak reference is kept.
    """
    weak_method = weakref.WeakMethod(workload)

    def run() -> None:
        pause = threading.Event()
        while (method := weak_method()) is not None:
            metrics.sample(method())
            # While this thread sleeps, it must not keep the owner alive.
            del method
            pause.wait(SAMPLE_SECONDS)

    threading.Thread(target=run, name="gauges", daemon=True).start()


def _histogram(name: str, text: str, bounds: Sequence[float], *labels: str) -> Any:
    return Histogram(name, text, boundaries=list(bounds), tag_keys=labels)


def _add(counter: Any, value: float, **tags: str) -> None:
    # Ray raises an error where 0 is added.
    if value > 0:
        counter.inc(value, tags=tags)
