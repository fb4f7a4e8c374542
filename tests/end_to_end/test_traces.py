"""Traces: one for each question, through client, encoder, fetch and decoder."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from luvc import AsyncClient, Client, InvalidArgument, Unavailable
from luvc.local_stack.free_port import free_port
from luvc.wire import traces
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from luvc_core.models.base import VisionHalf
from tests.support import services
from tests.support.asking import IMAGES
from tests.support.in_process_halves import decoder, encoder
from tests.support.services import Stack

ASKER, ENCODER, DECODER = "luvc", "luvc-encoder", "luvc-decoder"
GENERATE = (
    f"{ASKER}: luvc.v1.EncoderService/Generate",
    f"{ENCODER}: luvc.v1.EncoderService/Generate",
)
DECODED = (
    *GENERATE,
    f"{ENCODER}: luvc.v1.DecoderService/Generate",
    f"{DECODER}: luvc.v1.DecoderService/Generate",
)
EXPECTED = {
    GENERATE[:1],
    GENERATE,
    (*GENERATE, f"{ENCODER}: encode"),
    *((*GENERATE, f"{ENCODER}: encode", f"{ENCODER}: {stage}")
      for stage in ("media", "encode_queue", "tower")),
    DECODED[:-1],
    DECODED,
    (*DECODED, f"{DECODER}: fetch"),
    (*DECODED, f"{DECODER}: fetch", f"{ENCODER}: luvc.v1.EncoderService/FetchTokens"),
    *((*DECODED, f"{DECODER}: {stage}") for stage in ("prefill_queue", "prefill", "decode")),
}  # fmt: skip
PARENT = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_one_trace_holds_both_services(
    stack: Stack, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "picture.png"
    image.write_bytes(IMAGES[0])
    for name, value in stack.collecting.environ.items():
        monkeypatch.setenv(name, value)
    place, flags = stack.decoder.endpoint, ("--inline-bytes", "0")
    with services.encoder(checkpoint, place, tmp_path, *flags) as front:
        front.wait_ready()
        command = [sys.executable, "-m", "luvc.cli", "ask", str(image), "What?"]
        command += ["--max-tokens", "3", "--endpoint", front.endpoint]
        subprocess.run(command, check=True, timeout=60, env=dict(os.environ))
        seen = stack.collecting.wait_for(lambda seen: {s.path for s in seen} >= EXPECTED, 60)
    # The decoder has answered others before, who trace nothing.
    seen = [one for one in seen if one.path[0] == GENERATE[0]]
    assert {one.path for one in seen} == EXPECTED
    assert len({one.trace_id for one in seen}) == 1
    by_path = {one.path: one for one in seen}
    assert [by_path[path].code for path in (GENERATE, DECODED)] == ["OK", "OK"]
    for one in seen:
        assert one.start <= one.end
        if above := by_path.get(one.path[:-1]):
            # Clocks of one machine; stages are placed to the microsecond or so.
            assert above.start - one.start < 5e6


async def test_each_part_is_below_the_one_that_asked_for_it(
    checkpoint: Path, vision: VisionHalf, kept: InMemorySpanExporter
) -> None:
    async with (
        decoder(checkpoint) as (back, _),
        encoder(vision, back, inline_bytes=0) as (front, _),
        AsyncClient(front) as client,
    ):
        await client.ask("What?", IMAGES[0], max_tokens=3)
        with pytest.raises(InvalidArgument):
            await client.ask("What?", b"no picture")
    spans = {span.context.span_id: span for span in kept.get_finished_spans()}
    good, bad = sorted({s.context.trace_id for s in spans.values()}, key=lambda trace: -sum(
        s.context.trace_id == trace for s in spans.values()
    ))  # fmt: skip
    paths = {good: set(), bad: set()}
    for span in spans.values():
        path, above = [span.name], span.parent
        while above:
            path.insert(0, spans[above.span_id].name)
            above = spans[above.span_id].parent
        paths[span.context.trace_id].add(tuple(path))
    assert paths[good] == {tuple(name.split(": ")[1] for name in path) for path in EXPECTED}
    front_only = [tuple(name.split(": ")[1] for name in GENERATE[:i]) for i in (1, 2)]
    assert paths[bad] == {*front_only, (*front_only[1], "encode")}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Keep what all in this process traces."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces, "_provider", provider)
    return exporter


def test_without_an_endpoint_nothing_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    traces.set_up("test")
    assert traces._provider is None
    span = traces.span("s/m", "client")
    assert span.metadata == ()
    span.end_call("OK")


def test_a_callers_trace_goes_on_through_a_service_that_sends_none() -> None:
    with traces.span("s/m", "server", [PARENT, ("x-bin", b"1")]).part("work") as work:
        assert dict(work.metadata)["traceparent"].split("-")[1] == PARENT[1].split("-")[1]


def test_a_missing_package_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(traces, "OTLPSpanExporter", None)
    with caplog.at_level(logging.WARNING):
        traces.set_up("test")
    assert "luvc[traces]" in caplog.text
    monkeypatch.setattr(traces, "trace", None)
    span = traces.span("s/m", "client").child("part")
    span.stage("stage", 0.0, 1.0)
    assert span is traces.NO_SPAN


def test_a_failed_question_is_a_failed_span(kept: InMemorySpanExporter) -> None:
    with Client(f"127.0.0.1:{free_port()}") as client:
        with pytest.raises(Unavailable):
            client.ask("What?", retries=1, timeout=20)
        stream = client.stream("What?")
        stream.cancel()
        stream.cancel()
    failed, left = kept.get_finished_spans()
    assert not failed.status.is_ok
    assert failed.attributes["rpc.response.status_code"] == "UNAVAILABLE"
    assert [event.name for event in failed.events] == ["UNAVAILABLE", "UNAVAILABLE"]
    assert left.attributes["rpc.response.status_code"] == "CANCELLED"
    assert left.status.is_unset
