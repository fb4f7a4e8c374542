"""Metrics: both halves count what happens, under the names that the dashboards ask for."""

import asyncio
import json
import logging
import time
import urllib.request
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from luvc import Unauthenticated, probe
from luvc.aio import AsyncClient
from luvc.errors import LuvcError
from luvc.local_stack.free_port import free_port
from prometheus_client.parser import text_string_to_metric_families
from ray._private.telemetry.open_telemetry_metric_recorder import OpenTelemetryMetricRecorder

import decoder_service.metrics
import encoder_service.metrics
from deploy.check.queries import exported
from luvc_core.models.base import VisionHalf
from luvc_core.runtime.log_format import JsonLineFormatter, log_extra, request_id_of
from tests.support.asking import IMAGES
from tests.support.in_process_halves import decoder, encoder

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, str]]]:
    """Record what the replica hands to Ray: name, value, labels."""
    calls: list[tuple[str, float, dict[str, str]]] = []

    def record(self: Any, value: float, tags: dict[str, str] | None = None) -> None:
        # As Ray does: every label needs a value.
        self._validate_tags(self._get_final_tags(tags))
        calls.append((self.info["name"], value, dict(tags or {})))

    monkeypatch.setattr("ray.util.metrics.Metric._record", record)
    return calls


async def test_an_answer_and_a_failure_are_counted(
    checkpoint: Path, vision: VisionHalf, recorded: list[tuple[str, float, dict[str, str]]]
) -> None:
    port = free_port()
    async with (
        decoder(checkpoint) as (back, _),
        encoder(vision, back, metrics_port=port) as (front, _),
        AsyncClient(front) as client,
    ):
        first = await client.ask("What?", IMAGES[0], max_tokens=3)
        await client.ask("And?", IMAGES[0], max_tokens=3)
        with pytest.raises(LuvcError):
            await client.ask("What?", b"no picture", max_tokens=3)
        samples = scrape(port)

    assert at(samples, "luvc_requests_total", method="Generate", code="OK") == 2
    assert at(samples, "luvc_requests_total", method="Generate", code="INVALID_ARGUMENT") == 1
    for name in ("time_to_first_token", "e2e_request_latency"):
        assert at(samples, f"luvc_{name}_seconds_count") == 2
        assert at(samples, f"luvc_{name}_seconds_sum") > 0
    assert at(samples, "luvc_stage_seconds_count", stage="encode") == 1
    assert at(samples, "luvc_stage_seconds_count", stage="prefill") == 2
    source = 2 * first.usage.source_visual_token_count
    assert at(samples, "luvc_visual_tokens_total", kind="source") == source
    assert 0 < at(samples, "luvc_visual_tokens_total", kind="layer_averaged") < source
    assert at(samples, "luvc_wire_bytes_total") == 2 * first.usage.wire_byte_count
    assert at(samples, "luvc_media_total", how="reused") == 1
    assert at(samples, "luvc_store_lookups_total", result="stored") == 1
    assert at(samples, "luvc_num_requests_running") == 0

    assert ("luvc_requests", 1.0, {"code": "OK"}) in recorded
    names = {name for name, _, _ in recorded}
    # Nothing was fetched by reference, and pieces may come together.
    optional = {"luvc_fetch_seconds", "luvc_inter_token_latency_seconds"}
    defined = {m.info["name"] for m in decoder_service.metrics.Metrics().all}
    assert names | optional == defined


def test_the_gauges_of_a_replica_end_with_it(recorded: list[Any]) -> None:
    class Owner:
        def workload(self) -> decoder_service.metrics.Workload:
            return decoder_service.metrics.Workload(2, 3, 0.5)

    owner = Owner()
    metrics = decoder_service.metrics.Metrics()
    decoder_service.metrics.sample_for_ever(metrics, owner.workload)
    while len(recorded) < 3:
        time.sleep(0.01)
    assert {(name, value) for name, value, _ in recorded} == {
        ("luvc_num_requests_running", 2),
        ("luvc_num_requests_waiting", 3),
        ("luvc_kv_cache_usage_ratio", 0.5),
    }


def test_metrics_are_named_by_the_conventions() -> None:
    for family in encoder_service.metrics.Metrics().registry.collect():
        assert family.name.startswith("luvc_")
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        assert family.type != "histogram" or family.name.endswith("_seconds")


def test_a_line_of_json_holds_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("luvc.test")
    with caplog.at_level(logging.INFO):
        log.info("request %s ended", "r1", extra=log_extra("r1"))
    line = json.loads(JsonLineFormatter().format(caplog.records[-1]))
    assert (line["request_id"], line["message"], line["level"]) == (
        "r1",
        "request r1 ended",
        "info",
    )


def test_an_id_cannot_pass_for_a_line_of_the_log() -> None:
    assert request_id_of("a\nERROR forged\x1b[31m") == "aERROR forged[31m"
    assert request_id_of("x" * 200) == "x" * 100
    assert len(request_id_of("\n")) == 32


async def test_the_probe_tells_who_serves(
    checkpoint: Path, vision: VisionHalf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with encoder(vision, "127.0.0.1:1") as (endpoint, _):
        monkeypatch.setattr("sys.argv", ["probe", endpoint])
        assert await asyncio.to_thread(probe.main) == 0
        monkeypatch.setattr("sys.argv", ["probe", f"127.0.0.1:{free_port()}"])
        assert await asyncio.to_thread(probe.main) == 1


def test_ray_exports_a_replicas_metrics_as_the_dashboards_ask_for_them() -> None:
    """Through the recorder of Ray's own exporter, without a cluster."""
    recorder = OpenTelemetryMetricRecorder()
    names = set()
    for metric in decoder_service.metrics.Metrics().all:
        name, labels = metric.info["name"], dict.fromkeys(metric.info["tag_keys"], "x")
        match type(metric).__name__:
            case "Counter":
                recorder.register_counter_metric(name, "text")
            case "Gauge":
                recorder.register_gauge_metric(name, "text")
            case "Histogram":
                recorder.register_histogram_metric(name, "text", metric.info["boundaries"])
        recorder.set_metric_value(name, labels, 1.0)
        names.add(name)
    text = prometheus_client.generate_latest().decode()
    found = {
        sample.name
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("ray_luvc_")
    }
    assert {name for name in exported() if name.startswith("ray_luvc_")} == found


async def test_callers_without_a_key_are_counted(tmp_path: Path, vision: VisionHalf) -> None:
    keys, port = tmp_path / "keys", free_port()
    keys.write_text(f"{'0' * 64} tenant\n")
    async with (
        encoder(vision, "127.0.0.1:1", api_keys=str(keys), metrics_port=port) as (front, _),
        AsyncClient(front) as client,
    ):
        with pytest.raises(Unauthenticated):
            await client.ask("What?", IMAGES[0])
        samples = scrape(port)
    assert at(samples, "luvc_requests_total", method="any", code="UNAUTHENTICATED") == 1
