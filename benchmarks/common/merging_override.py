"""Another way of merging in the product's own towers, for experiments and for timing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from luvc_core.compression.algorithms.token_grid import TokenGrid
from luvc_core.models.vision import tower

Merge = Callable[..., TokenGrid]


@contextmanager
def merging_by(merge: Merge) -> Iterator[None]:
    """While it lasts, towers merge by `merge`, which is called as `merging.merge_grid` is.

    Not for several threads: it holds for the whole process.
    """
    with mock.patch.object(tower, "merge_grid", merge):
        yield
