"""How many replicas there should be: by the visual tokens that wait and the room that is taken.

Requests are no measure of work: one may bring a line of text, another two thousand visual tokens,
and how much room each takes depends on how far it is pruned. Each replica reports; the policy runs
in Serve's controller, which applies delays and bounds.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ray.serve.config import AutoscalingContext

# Names of what a replica reports.
QUEUED = "queued_visual_tokens"
KV = "kv_usage"
# What a request without media counts as, so that many of them are seen, too.
TEXT_ONLY_TOKENS = 64


class Backlog:
    """Visual tokens of requests that have not had their first token yet. For one event loop."""

    def __init__(self) -> None:
        self.token_count = 0

    @contextmanager
    def entry(self, token_count: int) -> Iterator["Entry"]:
        """Counts a request until its entry is told that it began, or the block ends."""
        entry = Entry(self, max(token_count, TEXT_ONLY_TOKENS))
        try:
            yield entry
        finally:
            entry.began()


class Entry:
    """One request's part of a backlog."""

    def __init__(self, backlog: Backlog, token_count: int) -> None:
        self._backlog = backlog
        self._token_count = token_count
        backlog.token_count += token_count

    def began(self) -> None:
        """Its first token is there. Harmless more than once."""
        self._backlog.token_count -= self._token_count
        self._token_count = 0


class ByVisualTokens:
    """Serve's policy. queued_tokens: that one replica should have waiting. kv_usage: share of its
    room for keys and values that should be taken."""

    def __init__(self, queued_tokens: float, kv_usage: float) -> None:
        self._targets = {QUEUED: queued_tokens, KV: kv_usage}

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        reported: Mapping[str, Mapping[Any, float]] = context.aggregated_metrics or {}
        if not any(reported.get(name) for name in self._targets):
            # Nobody has said anything yet: no reason to change.
            return context.target_num_replicas, {}
        return self.wanted(reported), {}

    def wanted(self, reported: Mapping[str, Mapping[Any, float]]) -> int:
        """Replicas that what was reported, by replica, spreads over at the targets; at least 1."""
        shares = (
            sum(reported.get(name, {}).values()) / target for name, target in self._targets.items()
        )
        return max(1, math.ceil(max(shares) - 1e-9))
