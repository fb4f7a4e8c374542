"""What a replica tells Prometheus, by way of Ray. Every metric of this service is defined here.

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
# Of luvc.v1.StageTimes, those that a replica measures.
STAGES = ("prefill_queue", "prefill", "decode")


@dataclass(frozen=True)
class Load:
    """What a replica has to do at this moment. kv_usage: share of the room for keys and values."""

    running: int
    waiting: int
    kv_usage: float


class Metrics:
    """Those of one replica. Any thread may record."""

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
        """Each of them."""
        return [m for m in vars(self).values() if isinstance(m, Counter | Gauge | Histogram)]

    def ended(self, code: str) -> None:
        """An answer is over. code: a gRPC status by name."""
        self._requests.inc(tags={"code": code})

    def gap(self, seconds: float) -> None:
        """Between two pieces of one answer."""
        self._gaps.observe(seconds)

    def fetched(self, seconds: float) -> None:
        """All tokens that a request refers to are here."""
        self._fetch.observe(seconds)

    def answered(self, usage: usage_pb2.Usage) -> None:
        """A complete answer."""
        self._first_token.observe(seconds_of(usage.times.time_to_first_token))
        self._end_to_end.observe(seconds_of(usage.times.total))
        for stage in STAGES:
            self._stages.observe(seconds_of(getattr(usage.times, stage)), tags={"stage": stage})
        _add(self._visual, usage.merged_visual_token_count, kind="merged")
        _add(self._visual, usage.layer_averaged_visual_token_count, kind="layer_averaged")
        _add(self._text, usage.prompt_token_count, kind="prompt")
        _add(self._text, usage.completion_token_count, kind="completion")

    def sample(self, load: Load) -> None:
        """Set the gauges."""
        self._running.set(load.running)
        self._waiting.set(load.waiting)
        self._kv.set(load.kv_usage)


def sample_for_ever(metrics: Metrics, load: Callable[[], Load]) -> None:
    """Set the gauges every SAMPLE_SECONDS on a thread of its own, until the owner of `load`, a
    bound method, is gone. Requests alone would leave the last of them standing."""
    method = weakref.WeakMethod(load)

    def run() -> None:
        pause = threading.Event()
        while (now := method()) is not None:
            metrics.sample(now())
            del now
            pause.wait(SAMPLE_SECONDS)

    threading.Thread(target=run, name="gauges", daemon=True).start()


def _histogram(name: str, text: str, bounds: Sequence[float], *labels: str) -> Any:
    return Histogram(name, text, boundaries=list(bounds), tag_keys=labels)


def _add(counter: Any, value: float, **tags: str) -> None:
    # Ray refuses to add nothing.
    if value > 0:
        counter.inc(value, tags=tags)
