"""A collector of OpenTelemetry: the standard's own gRPC service, which keeps what it is sent."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2,
    trace_service_pb2_grpc,
)


@dataclass(frozen=True)
class ReceivedSpan:
    """A span that arrived.

    Attributes:
        path: names of the spans above it, the topmost first, and its own, each with its service.
    """

    path: tuple[str, ...]
    trace_id: bytes
    code: str
    start: int
    end: int


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps spans. Threads of the gRPC server write; the test reads."""

    endpoint: str = ""
    _spans: dict[bytes, tuple[str, Any]] = field(default_factory=dict)

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            about = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._spans[span.span_id] = (about["service.name"], span)
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def environ(self) -> dict[str, str]:
        """Variables of a process whose spans come here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}

    @property
    def spans(self) -> list[ReceivedSpan]:
        """All spans whose ancestors have arrived, too, by path."""
        found = []
        for _, span in list(self._spans.values()):
            path, above = [], span.span_id
            while above in self._spans:
                service, one = self._spans[above]
                path.append(f"{service}: {one.name}")
                above = one.parent_span_id
            if not above:
                codes = {a.key: a.value.string_value for a in span.attributes}
                code = codes.get("rpc.response.status_code", "")
                times = span.start_time_unix_nano, span.end_time_unix_nano
                found.append(ReceivedSpan(tuple(reversed(path)), span.trace_id, code, *times))
        return sorted(found, key=lambda span: span.path)

    def wait_for(
        self, ready: Callable[[list[ReceivedSpan]], bool], seconds: float
    ) -> list[ReceivedSpan]:
        """Wait until the spans are as they should be, or the time is over; return all of them."""
        end = time.monotonic() + seconds
        while not ready(self.spans) and time.monotonic() < end:
            time.sleep(0.1)
        return self.spans


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector for the time of the block."""
    server = grpc.server(ThreadPoolExecutor(2))
    collecting = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collecting, server)
    collecting.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collecting
    finally:
        server.stop(None).wait()
