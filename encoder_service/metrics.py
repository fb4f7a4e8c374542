"""Prometheus metrics of the encoder service. All of them are defined here.

Labels have few values, all known beforehand: nothing that a caller sends becomes a label. Counters
end in `_total`, times are in seconds, sizes in bytes.
"""

from collections.abc import Iterable

from luvc.v1 import usage_pb2
from luvc.wire.fields import seconds_of
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from encoder_service.encoding.executor import EncodingExecutor
from encoder_service.encoding.pipeline import EncodingPipeline
from encoder_service.tenants import Tenants
from encoder_service.transfer.blob_handles import HeldBlobs
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.histogram_buckets import GAP, LATENCY, STAGE
from luvc_core.store.cache import CacheCounts

# Fields of luvc.v1.StageTimes that are stages; its other fields have histograms of their own.
STAGES = ("media", "encode_queue", "encode", "transfer", "prefill_queue", "prefill", "decode")


class Metrics:
    """Prometheus metrics of one encoder server, in its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            "luvc_requests", "Calls that ended, by gRPC code", "method", "code"
        )
        self._first_token = self._histogram(
            "luvc_time_to_first_token_seconds", "Arrival to first text", LATENCY
        )
        self._gaps = self._histogram(
            "luvc_inter_token_latency_seconds", "Between two pieces of text of an answer", GAP
        )
        self._end_to_end = self._histogram(
            "luvc_e2e_request_latency_seconds", "Arrival to the end of a complete answer", LATENCY
        )
        self._stages = self._histogram(
            "luvc_stage_seconds", "Time of a stage, of requests that had it", STAGE, "stage"
        )
        self._tokens = self._counter(
            "luvc_visual_tokens",
            "Visual tokens of answered requests: source would have been used without compression,"
            " merged were left by OIM, layer_averaged by SPU in the average layer",
            "kind",
        )
        self._text_tokens = self._counter(
            "luvc_text_tokens", "Text tokens of answered requests", "kind"
        )
        self._wire = self._counter("luvc_wire_bytes", "Visual tokens sent to decoders")
        self._saved = self._counter(
            "luvc_wire_bytes_saved",
            "What compression kept off the wire, of what it would have been",
        )
        self._media = self._counter(
            "luvc_media", "Pictures and clips: reused (store or another request) or encoded", "how"
        )
        self._fetched = self._counter(
            "luvc_media_fetched", "Media that decoders fetched themselves"
        )
        self._degradations = self._counter(
            "luvc_degradations", "What was done rather than failing", "kind"
        )
        self._running = self._gauge("luvc_num_requests_running", "Requests at work")
        self._waiting = self._gauge("luvc_num_requests_waiting", "Requests waiting for their turn")
        self._pixels = self._gauge(
            "luvc_tower_pixels", "Pixels in the vision tower or waiting for it"
        )
        self._held_bytes = self._gauge(
            "luvc_promised_bytes", "Visual tokens kept for decoders that fetch them"
        )
        self._store = _StoreCounts()
        self.registry.register(self._store)

    def watch(
        self,
        limiter: AdmissionLimiter,
        tenants: Tenants,
        executor: EncodingExecutor,
        held_blobs: HeldBlobs,
        pipeline: EncodingPipeline,
    ) -> None:
        """Set where gauges and the store's counts are read whenever they are scraped.

        Args:
            limiter: knows the requests at work and those that wait.
            tenants: know the requests that wait for others of their tenant.
            executor: knows the pixels in the tower.
            held_blobs: knows the bytes held for decoders.
            pipeline: counts for the store.
        """
        self._running.set_function(lambda: limiter.running)
        self._waiting.set_function(lambda: limiter.waiting + tenants.waiting)
        self._pixels.set_function(lambda: executor.pixels)
        self._held_bytes.set_function(lambda: held_blobs.byte_count)
        self._store.pipeline = pipeline

    def record_end(self, method: str, code: str) -> None:
        """Count a call that is over. code: name of a gRPC status."""
        self._requests.labels(method, code).inc()

    def record_gap(self, seconds: float) -> None:
        """Record the time between two pieces of one answer."""
        self._gaps.observe(seconds)

    def record_answer(self, usage: usage_pb2.Usage, media_count: int) -> None:
        """Record a complete answer. media_count: images and videos of its conversation."""
        times = usage.times
        self._first_token.observe(seconds_of(times.time_to_first_token))
        self._end_to_end.observe(seconds_of(times.total))
        for stage in STAGES:
            if times.HasField(stage):
                self._stages.labels(stage).observe(seconds_of(getattr(times, stage)))
        self._tokens.labels("source").inc(usage.source_visual_token_count)
        self._tokens.labels("merged").inc(usage.merged_visual_token_count)
        self._tokens.labels("layer_averaged").inc(usage.layer_averaged_visual_token_count)
        self._text_tokens.labels("prompt").inc(usage.prompt_token_count)
        self._text_tokens.labels("completion").inc(usage.completion_token_count)
        self._wire.inc(usage.wire_byte_count)
        self._saved.inc(max(0, usage.uncompressed_byte_count - usage.wire_byte_count))
        self._media.labels("reused").inc(usage.reused_media_count)
        self._media.labels("encoded").inc(max(0, media_count - usage.reused_media_count))
        self._fetched.inc(usage.fetched_media_count)
        for kind in usage.degradations:
            self._degradations.labels(kind).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def _histogram(
        self, name: str, text: str, bounds: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=bounds, registry=self.registry)


class _StoreCounts(Collector):
    """Reads the counts of the token cache at each scrape, because the cache counts by itself."""

    pipeline: EncodingPipeline | None = None

    def collect(self) -> Iterable[CounterMetricFamily]:
        counts = self.pipeline.counts if self.pipeline else CacheCounts()
        lookups = CounterMetricFamily(
            "luvc_store_lookups",
            "Tokens asked for: stored were found, joined were made for another request of the"
            " moment, encoded had to be made",
            labels=["result"],
        )
        for result in ("stored", "joined", "encoded"):
            lookups.add_metric([result], getattr(counts, result))
        yield lookups
        yield CounterMetricFamily(
            "luvc_store_failures", "Times the store was passed by", value=counts.failures
        )
        yield CounterMetricFamily(
            "luvc_store_bad_values", "Values dropped as harmed or foreign", value=counts.bad_values
        )
