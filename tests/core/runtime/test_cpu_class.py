"""The check that every test makes of how Linux schedules it."""

import os
import threading

from tests.support.cpu_class import AT_FIRST, classes


def test_another_class_of_one_thread_is_found() -> None:
    changed, over = threading.Event(), threading.Event()

    def run() -> None:
        # Unlike a realtime class, this one is open to everybody.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        changed.set()
        over.wait()

    assert classes() <= AT_FIRST
    thread = threading.Thread(target=run)
    thread.start()
    try:
        changed.wait()
        assert (os.SCHED_BATCH, 0) in classes() - AT_FIRST
    finally:
        over.set()
        thread.join()
    assert classes() <= AT_FIRST
