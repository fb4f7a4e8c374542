"""Room for keys and values: what a request will need, and how much there is for all."""

from collections.abc import Sequence


def kv_rows(text_count: int, layer_counts: Sequence[int], most: int) -> tuple[int, ...]:
    """How many tokens each layer's cache will hold at most.

    text_count: text tokens of the prompt. layer_counts: visual tokens that enter each layer. most:
    tokens of the answer, the last of which is drawn and never computed with.
    """
    return tuple(text_count + visual + most - 1 for visual in layer_counts)


class KvBudget:
    """Accounts of a bounded number of bytes. Not for several threads.

    Requests reserve all that they can come to need before they start, so none ever has to stop
    halfway for want of room. Caches then hold exactly what was reserved.
    """

    def __init__(self, byte_count: int) -> None:
        self.byte_count = byte_count
        self.used = 0
        self.peak = 0

    def reserve(self, byte_count: int) -> bool:
        """Whether there was room, which is then taken."""
        if byte_count > self.byte_count - self.used:
            return False
        self.used += byte_count
        self.peak = max(self.peak, self.used)
        return True

    def release(self, byte_count: int) -> None:
        """Give back what was reserved. Raises ValueError for more than is in use."""
        if not 0 <= byte_count <= self.used:
            raise ValueError(f"{byte_count} bytes given back, {self.used} in use")
        self.used -= byte_count
