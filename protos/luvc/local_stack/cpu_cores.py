"""The CPU cores that a process may use.

Threads beyond them do not compute faster: they wait for each other.
"""

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def core_count(quota: Path = _QUOTA) -> int:
    """Return how many cores this process is bound to and its container may use; at least 1.

    quota: file of the control group: microseconds or `max`, and those of the period.
    """
    bound = getattr(os, "sched_getaffinity", None)
    count = len(bound(0)) if bound else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(count, math.ceil(int(allowed) / int(period))))
    except (OSError, ValueError):  # no such group, or no limit
        return count
