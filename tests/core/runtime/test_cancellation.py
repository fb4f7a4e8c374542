"""Work on a thread ends when nobody waits for it any more."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from luvc_core.errors import DeadlineExceeded
from luvc_core.runtime.cancellation import Cancellation, WorkAbandoned
from luvc_core.runtime.deadline import Deadline
from luvc_core.runtime.offload import run_on


def test_it_checks_the_deadline_and_the_block() -> None:
    with Cancellation() as cancellation:
        cancellation.check(Deadline.after(60))
        with pytest.raises(DeadlineExceeded):
            cancellation.check(Deadline.after(0))
    with pytest.raises(WorkAbandoned):
        cancellation.check(Deadline.after(60))


async def test_a_thread_ends_when_its_waiter_is_cancelled() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(cancellation: Cancellation) -> None:
        check = partial(cancellation.check, Deadline.after(60))
        begun.set()
        try:
            while True:
                check()
        except WorkAbandoned:
            ended.set()
            raise

    async def wait() -> None:
        with Cancellation() as cancellation:
            await run_on(threads, work, cancellation)

    with ThreadPoolExecutor(1) as threads:
        waiter = asyncio.create_task(wait())
        assert await asyncio.to_thread(begun.wait, 10)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert await asyncio.to_thread(ended.wait, 10)
