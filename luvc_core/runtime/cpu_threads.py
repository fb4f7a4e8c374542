"""The number of CPU cores that the tensor work of a thread may use.

Every thread that computes on several cores has its own worker threads. Where a process has
more of these than cores, they sleep between two products instead of spinning, and each product
waits until they are awake, which costs small models a third of their speed. So in a service one
thread, which runs the model, computes on all cores, and every other thread on one.
"""

import torch


def compute_on(cores: int) -> None:
    """Set how many CPU cores torch uses on the calling thread."""
    # Read the number first: a thread that never read it takes the number any thread set last.
    torch.get_num_threads()
    torch.set_num_threads(cores)
