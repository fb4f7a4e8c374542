"""Autoscaling of replicas, by the visual tokens that wait and the share of KV budget in use.

The number of requests is no measure of work: one may bring a line of text, another two thousand
visual tokens, and how large the KV cache of each is depends on how far it is pruned. Each replica
reports; the policy runs in Serve's controller, which applies delays and bounds.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ray.serve.config import AutoscalingContext

# Names of the figures that a replica reports.
QUEUED = "queued_visual_tokens"
KV = "kv_usage"
# A request without media counts as so many tokens, so that many of them add up, too.
TEXT_ONLY_TOKENS = 64


class Backlog:
    """Visual tokens of requests whose answers have not begun. For one event loop."""

    def __init__(self) -> None:
        self.token_count = 0

    @contextmanager
    def entry(self, token_count: int) -> Iterator["BacklogEntry"]:
        """Count a request until its entry is removed, or the block ends."""
        entry = BacklogEntry(self, max(token_count, TEXT_ONLY_TOKENS))
        try:
            yield entry
        finally:
            entry.remove()


class BacklogEntry:
    """One request in a backlog."""

    def __init__(self, backlog: Backlog, token_count: int) -> None:
        self._backlog = backlog
        self._token_count = token_count
        backlog.token_count += token_count

    def remove(self) -> None:
        """Take the request out, because its answer has begun. Harmless more than once."""
        self._backlog.token_count -= self._token_count
        self._token_count = 0


class ByVisualTokens:
    """Autoscaling policy for Ray Serve."""

    def __init__(self, queued_tokens: float, kv_usage: float) -> None:
        """Set the targets of each replica.

        queued_tokens: how many visual tokens should wait for it. kv_usage: which share of its KV
        budget should be in use.
        """
        self._targets = {QUEUED: queued_tokens, KV: kv_usage}

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        reported: Mapping[str, Mapping[Any, float]] = context.aggregated_metrics or {}
        if not any(reported.get(name) for name in self._targets):
            # No replica has reported yet: no reason to change.
            return context.target_num_replicas, {}
        return self.wanted(reported), {}

    def wanted(self, reported: Mapping[str, Mapping[Any, float]]) -> int:
        """Return how many replicas would each be at the targets; at least 1.

        reported: the figures of each replica, by name and replica.
        """
        shares = (
            sum(reported.get(name, {}).values()) / target for name, target in self._targets.items()
        )
        return max(1, math.ceil(max(shares) - 1e-9))
