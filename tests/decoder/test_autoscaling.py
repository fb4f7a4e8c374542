"""Replicas by the work that there is: the arithmetic of it."""

from types import SimpleNamespace
from typing import Any

import pytest

from decoder_service.autoscaling import KV, QUEUED, TEXT_ONLY_TOKENS, Backlog, ByVisualTokens


@pytest.mark.parametrize(
    ("reported", "wanted"),
    [
        ({QUEUED: {"a": 0.0}, KV: {"a": 0.0}}, 1),
        ({QUEUED: {"a": 1000.0}, KV: {"a": 0.5}}, 1),
        ({QUEUED: {"a": 1001.0}, KV: {"a": 0.1}}, 2),
        ({QUEUED: {"a": 900.0, "b": 1200.0}, KV: {}}, 3),
        ({QUEUED: {"a": 0.0, "b": 0.0}, KV: {"a": 0.9, "b": 0.4}}, 3),
    ],
    ids=["idle", "at both targets", "tokens wait", "both wait", "room is scarce"],
)
def test_replicas_follow_the_scarcest(reported: dict[str, dict[str, float]], wanted: int) -> None:
    policy = ByVisualTokens(queued_tokens=1000.0, kv_usage=0.5)
    context: Any = SimpleNamespace(aggregated_metrics=reported, target_num_replicas=7)
    assert policy(context) == (wanted, {})


@pytest.mark.parametrize("reported", [None, {}, {QUEUED: {}, KV: {}}])
def test_without_reports_nothing_changes(reported: Any) -> None:
    context: Any = SimpleNamespace(aggregated_metrics=reported, target_num_replicas=2)
    assert ByVisualTokens(1000.0, 0.5)(context) == (2, {})


def test_a_request_waits_until_it_begins_or_ends() -> None:
    backlog = Backlog()
    with backlog.entry(300) as begins:
        with backlog.entry(0):
            assert backlog.token_count == 300 + TEXT_ONLY_TOKENS
        assert backlog.token_count == 300
        begins.remove()
        begins.remove()
        assert backlog.token_count == 0
    assert backlog.token_count == 0
