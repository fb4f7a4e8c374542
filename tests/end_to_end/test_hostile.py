"""Inputs that mean harm end in an answer or a typed error, at the edges and over gRPC.

`make bench-chaos` draws thousands of the same. What once failed lies in `corpus/`, each file named
after the edge that it broke.
"""

import json
import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.chaos import hostile, hostile_inputs
from benchmarks.chaos.hostile_edges import Edges, outcome
from benchmarks.chaos.outcomes import TYPED
from luvc_core.models.base import LanguageHalf, VisionHalf
from tests.support.asking import IMAGES, TIMEOUT, ask
from tests.support.in_process_halves import decoder, encoder, pieces_of

CORPUS = sorted(p for p in (Path(__file__).parents[1] / "corpus").iterdir() if "-" in p.name)
BOMBS = hostile_inputs.bombs()


@pytest.fixture(scope="module")
def edges(vision: VisionHalf, language: LanguageHalf) -> Edges:
    return Edges(vision, language)


@pytest.fixture(scope="module")
def strategies(vision: VisionHalf) -> dict[str, Any]:
    return hostile.strategies(vision)


@pytest.mark.parametrize("edge", hostile.SHARES)
def test_no_input_breaks_an_edge(edge: str, edges: Edges, strategies: dict[str, Any]) -> None:
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(strategies[edge])
    def each(value: Any) -> None:
        ended = outcome(getattr(edges, edge), value)
        assert ended.ending in ("answered", "typed_error")

    each()


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_no_harm(name: str, edges: Edges) -> None:
    # Where only what is not looked at is large, or absurd, the picture is as good as any.
    harmless = name in ("many texts", "exif", "absurd frames")
    assert outcome(edges.media, BOMBS[name]).code == ("OK" if harmless else "INVALID_ARGUMENT")


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_once_failed(path: Path, edges: Edges) -> None:
    edge, data = path.name.partition("-")[0].replace("_request", "_bytes"), path.read_bytes()
    value = json.loads(data) if edge in ("settings", "headers") else data
    assert outcome(getattr(edges, edge), value).ending in ("answered", "typed_error")


async def test_over_grpc_nothing_is_lost_and_the_log_stays_clean(
    vision: VisionHalf,
    checkpoint: Path,
    strategies: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = [b"", *(path.read_bytes() for path in CORPUS if path.name.startswith("encoder_"))]

    @settings(max_examples=30, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(strategies["encoder_bytes"], strategies["encoder_request"])
    def keep(data: bytes, message: Any) -> None:
        sent.extend([data, message.SerializeToString()])

    keep()
    async with (
        decoder(checkpoint) as (back, _),
        encoder(vision, back) as (endpoint, front),
        grpc.aio.insecure_channel(endpoint) as channel,
    ):
        ended = [await hostile.send(channel, data, TIMEOUT) for data in sent]
        assert {o.code for o in ended} <= {*TYPED, "OK"}
        assert "hung" not in {o.ending for o in ended}
        pieces = await pieces_of(front.Generate(ask(IMAGES[0], "x"), timeout=TIMEOUT))
        assert pieces[-1].usage.completion_token_count > 0
    assert not [record for record in caplog.records if record.exc_info]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not [record for record in caplog.records if "\nTraceback" in record.getMessage()]
