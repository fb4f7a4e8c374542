"""The numbers that the algorithms' docstrings show are those that the code computes."""

import doctest
from types import ModuleType

import pytest

from luvc_core.compression.algorithms import frequency_scores, merging


@pytest.mark.parametrize("module", [frequency_scores, merging])
def test_the_worked_example_is_true(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0
