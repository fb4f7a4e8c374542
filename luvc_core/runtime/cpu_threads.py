"""How many CPU cores tensor work of a thread may use.

Every thread that computes on several cores keeps helpers of its own. Where a process has more of
them than cores they sleep between two products instead of spinning, and each product waits until
they are awake, which costs small models a third of their speed. So in a service one thread, which
runs the model, computes on all cores, and all others on the one that they are on.
"""

import torch


def compute_on(cores: int) -> None:
    """Of the calling thread, from now on."""
    # Asked first: a thread that never was takes up what any thread set last.
    torch.get_num_threads()
    torch.set_num_threads(cores)
