"""CPU cores that a process may use: no more than it is bound to, nor than its container is allowed.

Threads beyond them do not compute, they wait for each other.
"""

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def core_count(quota: Path = _QUOTA) -> int:
    """At least 1. quota: the control group's file, `max` or microseconds, and the period's."""
    bound = getattr(os, "sched_getaffinity", None)
    count = len(bound(0)) if bound else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(count, math.ceil(int(allowed) / int(period))))
    except (OSError, ValueError):  # no such group, or no limit
        return count
