"""How many cores a thread computes on is its own affair."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from luvc_core.runtime.cpu_threads import compute_on


def test_what_one_thread_sets_holds_for_no_other() -> None:
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(1, initializer=compute_on, initargs=(3,)) as wide:
            assert wide.submit(torch.get_num_threads).result() == 3
            with ThreadPoolExecutor(1, initializer=compute_on, initargs=(1,)) as narrow:
                assert narrow.submit(torch.get_num_threads).result() == 1
                assert wide.submit(torch.get_num_threads).result() == 3
                wide.submit(compute_on, 2).result()
                assert narrow.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_a_thread_limited_before_its_first_product_stays_so() -> None:
    before = torch.get_num_threads()
    found = []

    def work() -> None:
        compute_on(1)
        # What any other thread sets later is what torch starts new threads with.
        other = threading.Thread(target=compute_on, args=(2,))
        other.start()
        other.join()
        torch.ones(300, 300) @ torch.ones(300, 300)
        found.append(torch.get_num_threads())

    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == [1]
    finally:
        torch.set_num_threads(before)
