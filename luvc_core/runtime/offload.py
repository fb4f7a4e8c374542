"""Work that would hold up the event loop, run on a thread instead."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


def run_on(
    threads: Executor, work: Callable[[*Arguments], T], *arguments: *Arguments
) -> "asyncio.Future[T]":
    """Run work on a thread and return its future, to be awaited on the running event loop.

    Args:
        threads: the pool that runs it, after what was handed to it earlier.
        work: what to call.
        arguments: of the call.

    Returns:
        The future of the result. Work that is cancelled before it has started never starts.
    """
    return asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
