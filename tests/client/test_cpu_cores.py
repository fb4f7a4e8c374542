"""How many CPU cores a process may use."""

import os
from pathlib import Path

import pytest
from luvc.local_stack.cpu_cores import core_count


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100000 100000\n", 1), ("50000 100000\n", 1), ("150000 100000\n", 2), ("max 100000\n", None),
     ("6400000 100000\n", None), ("", None)],
)  # fmt: skip
def test_a_containers_limit_counts(text: str, expected: int | None, tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)
    bound = len(os.sched_getaffinity(0))
    assert core_count(file) == (bound if expected is None else min(bound, expected))


def test_without_a_control_group_all_that_it_is_bound_to_count(tmp_path: Path) -> None:
    assert core_count(tmp_path / "none") == len(os.sched_getaffinity(0))
