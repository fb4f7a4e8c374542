"""Traces by OpenTelemetry: one for each question, through client, encoder, fetch and decoder.

Spans are handed on, never kept in context variables: answers are async generators, each step of
which may run in another task. Without the packages of `luvc[traces]`, or while nothing is set up,
all of this does nothing.
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
# One of these says where spans go: the standard's own variables.
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_MILLISECONDS = 3000

_provider: Any = None


def set_up(service: str) -> None:
    """Send this process's spans over OTLP (gRPC) where an endpoint is configured; once a process.

    service: its name, unless OTEL_SERVICE_NAME says another. All other OTEL_ variables hold, too.
    """
    global _provider
    wanted = any(map(os.environ.get, _ENDPOINTS))
    if not wanted or _provider or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    if trace is None or OTLPSpanExporter is None:
        log.warning("an OTLP endpoint is set, but no spans are sent: pip install 'luvc[traces]'")
        return
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    # Its queue is bounded and it sends from a thread: a collector that is away costs spans only.
    _provider = TracerProvider(resource=Resource.create({"service.name": name}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))


def flush() -> None:
    """Send what has ended so far; for processes that are killed rather than end. Takes seconds."""
    if _provider:
        _provider.force_flush(_FLUSH_MILLISECONDS)


@dataclass(frozen=True)
class Span:
    """A piece of work. Safe to use in any thread and task; what is said after its end is lost."""

    _span: Any

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call must carry for the other side's spans to be below this one."""
        if self._span is None or not self._span.get_span_context().is_valid:
            return ()
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(self._span))
        return tuple(carrier.items())

    @property
    def _live(self) -> bool:
        return self._span is not None and self._span.is_recording()

    def child(self, name: str, kind: Kind = "internal") -> "Span":
        """A part of this work, to be ended by the caller."""
        if self._span is None:
            return self
        return Span(_open(name, kind, trace.set_span_in_context(self._span)))

    @contextmanager
    def part(self, name: str, kind: Kind = "internal") -> Iterator["Span"]:
        """A part of this work that lasts as long as the block."""
        span, error = self.child(name, kind), ""
        try:
            yield span
        except BaseException as raised:
            error = str(raised) or type(raised).__name__
            raise
        finally:
            span.end(error)

    def stage(self, name: str, start: float, seconds: float) -> None:
        """A part that is over. start: on the monotonic clock."""
        if self._span is not None:
            began = time.time_ns() - int((time.monotonic() - start) * 1e9)
            span = _open(name, "internal", trace.set_span_in_context(self._span), began)
            span.end(began + int(seconds * 1e9))

    def note(self, **attributes: str | float) -> None:
        """Say something about the work. `__` in a name stands for a dot."""
        if self._live:
            self._span.set_attributes({k.replace("__", "."): v for k, v in attributes.items()})

    def event(self, name: str) -> None:
        """Something happened now."""
        if self._live:
            self._span.add_event(name)

    def end(self, error: str = "") -> None:
        """It is over, if it is not yet. error: what went wrong, if anything."""
        if self._live:
            if error:
                self._span.set_status(trace.StatusCode.ERROR, error)
            self._span.end()

    def end_call(self, code: str, text: str = "") -> None:
        """A call is over. code: a gRPC status by name. A caller that leaves is no error."""
        self.note(rpc__response__status_code=code)
        self.end("" if code in ("OK", "CANCELLED") else f"{code}: {text}")


NOTHING = Span(None)


def span(name: str, kind: Kind, metadata: Metadata | None = None) -> Span:
    """A span below the caller's, by the metadata of a call; below the current one of the program
    where metadata is None, as OpenTelemetry knows it. Names of calls are SERVICE/METHOD."""
    if trace is None:
        return NOTHING
    context = None
    if metadata is not None:
        carrier = {k: v for k, v in metadata if isinstance(v, str)}
        context = TraceContextTextMapPropagator().extract(carrier, Context())
    return Span(_open(name, kind, context))


def _open(name: str, kind: Kind, context: Any, start_time: int | None = None) -> Any:
    # An application's own provider where nothing is set up here.
    tracer = (_provider or trace.get_tracer_provider()).get_tracer("luvc")
    about = {} if kind == "internal" else {"rpc.system.name": "grpc", "rpc.method": name}
    return tracer.start_span(
        name, context, trace.SpanKind[kind.upper()], about, start_time=start_time
    )
