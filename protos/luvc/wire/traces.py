"""OpenTelemetry traces: one for each request, through client, encoder, fetch and decoder.

Spans are passed as arguments, never kept in context variables, because answers are async
generators, each step of which may run in another task. Without the packages of `luvc[traces]`, or
while nothing is set up, all of this does nothing.
"""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    trace = None  # type: ignore[assignment]
try:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ImportError:
    OTLPSpanExporter = None  # type: ignore[assignment, misc]

log = logging.getLogger(__name__)

Kind = Literal["internal", "client", "server"]
Metadata = Iterable[tuple[str, str | bytes]]
# OpenTelemetry's own variables, of which one says where spans are sent.
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_MILLISECONDS = 3000

_provider: Any = None


def set_up(service: str) -> None:
    """Send the spans of this process over OTLP (gRPC), where an endpoint is configured.

    To be called once in a process. service: its name, unless OTEL_SERVICE_NAME gives another. All
    other OTEL_ variables apply, too.
    """
    global _provider
    wanted = any(map(os.environ.get, _ENDPOINTS))
    if not wanted or _provider or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    if trace is None or OTLPSpanExporter is None:
        log.warning("an OTLP endpoint is set, but no spans are sent: pip install 'luvc[traces]'")
        return
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    # The processor sends from a thread and bounds its queue: a collector that is away costs only
    # spans.
    _provider = TracerProvider(resource=Resource.create({"service.name": name}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))


def flush() -> None:
    """Send the spans that have ended, which may take seconds; for a process about to be killed."""
    if _provider:
        _provider.force_flush(_FLUSH_MILLISECONDS)


@dataclass(frozen=True)
class Span:
    """A piece of work in a trace. Safe in any thread and task; after its end, calls do nothing."""

    _span: Any

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata by which the spans of a called service are placed below this one."""
        if self._span is None or not self._span.get_span_context().is_valid:
            return ()
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers, trace.set_span_in_context(self._span))
        return tuple(headers.items())

    @property
    def _live(self) -> bool:
        return self._span is not None and self._span.is_recording()

    def child(self, name: str, kind: Kind = "internal") -> "Span":
        """Begin a part of this work, which the caller has to end."""
        if self._span is None:
            return self
        return Span(_open(name, kind, trace.set_span_in_context(self._span)))

    @contextmanager
    def part(self, name: str, kind: Kind = "internal") -> Iterator["Span"]:
        """Trace a part of this work for the time of the block."""
        span, error = self.child(name, kind), ""
        try:
            yield span
        except BaseException as raised:
            error = str(raised) or type(raised).__name__
            raise
        finally:
            span.end(error)

    def stage(self, name: str, start: float, seconds: float) -> None:
        """Add a part of this work that is over.

        Args:
            name: of the part.
            start: when it began, in seconds on the monotonic clock.
            seconds: how long it took.
        """
        if self._span is not None:
            began = time.time_ns() - int((time.monotonic() - start) * 1e9)
            span = _open(name, "internal", trace.set_span_in_context(self._span), began)
            span.end(began + int(seconds * 1e9))

    def set_attributes(self, **attributes: str | float) -> None:
        """Add attributes to the span. `__` in a name stands for a dot."""
        if self._live:
            self._span.set_attributes({k.replace("__", "."): v for k, v in attributes.items()})

    def add_event(self, name: str) -> None:
        """Add an event that happens now."""
        if self._live:
            self._span.add_event(name)

    def end(self, error: str = "") -> None:
        """End the span, unless it has ended. error: what went wrong; empty for nothing."""
        if self._live:
            if error:
                self._span.set_status(trace.StatusCode.ERROR, error)
            self._span.end()

    def end_call(self, code: str, text: str = "") -> None:
        """End the span of a call. A caller that leaves is no error.

        code: name of a gRPC status. text: its message.
        """
        self.set_attributes(rpc__response__status_code=code)
        self.end("" if code in ("OK", "CANCELLED") else f"{code}: {text}")


NO_SPAN = Span(None)


def span(name: str, kind: Kind, metadata: Metadata | None = None) -> Span:
    """Begin a span below another.

    Args:
        name: SERVICE/METHOD for a call.
        kind: which side of a call it is, if any.
        metadata: of a call, which may name the caller's span. None takes the span that is current
            in this program, as OpenTelemetry knows it.
    """
    if trace is None:
        return NO_SPAN
    context = None
    if metadata is not None:
        headers = {k: v for k, v in metadata if isinstance(v, str)}
        context = TraceContextTextMapPropagator().extract(headers, Context())
    return Span(_open(name, kind, context))


def _open(name: str, kind: Kind, context: Any, start_time: int | None = None) -> Any:
    # Without a provider of our own, spans go to the provider of the application, if it has one.
    tracer = (_provider or trace.get_tracer_provider()).get_tracer("luvc")
    attributes = {} if kind == "internal" else {"rpc.system.name": "grpc", "rpc.method": name}
    return tracer.start_span(
        name, context, trace.SpanKind[kind.upper()], attributes, start_time=start_time
    )
