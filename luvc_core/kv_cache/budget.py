"""The KV budget: how many bytes requests may reserve, and how many rows one will need."""

from collections.abc import Sequence


def kv_rows(text_count: int, layer_counts: Sequence[int], max_tokens: int) -> tuple[int, ...]:
    """Count how many tokens each layer's cache will hold at most.

    Args:
        text_count: text tokens of the prompt.
        layer_counts: visual tokens that enter each layer.
        max_tokens: of the answer; the last of them is sampled and enters no layer.
    """
    return tuple(text_count + visual + max_tokens - 1 for visual in layer_counts)


class KvBudget:
    """A bounded number of bytes that requests reserve. Not for several threads.

    Requests reserve all that they may need before they start, so none ever has to stop halfway.
    Their caches then hold exactly what was reserved.

    Attributes:
        byte_count: how many bytes there are.
        used: how many are reserved now.
        peak: how many were reserved at most.
    """

    def __init__(self, byte_count: int) -> None:
        self.byte_count = byte_count
        self.used = 0
        self.peak = 0

    def reserve(self, byte_count: int) -> bool:
        """Reserve bytes if as many are free; return whether they were."""
        if byte_count > self.byte_count - self.used:
            return False
        self.used += byte_count
        self.peak = max(self.peak, self.used)
        return True

    def release(self, byte_count: int) -> None:
        """Return what was reserved. Raises ValueError for more than is in use."""
        if not 0 <= byte_count <= self.used:
            raise ValueError(f"{byte_count} bytes given back, {self.used} in use")
        self.used -= byte_count
