"""Replace the merging in the product's own towers, for experiments and for timing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.models.vision import tower

Merge = Callable[..., TokenGrid]


@contextmanager
def merging_by(merge: Merge) -> Iterator[None]:
    """Let towers merge by `merge` within the block, which is called as `merging.merge_grid` is.

    It holds for the whole process, so not for several threads.
    """
    with mock.patch.object(tower, "merge_grid", merge):
        yield
