"""A key/value cache whose layers differ in length: pruning leaves deeper layers fewer tokens."""

from torch import Tensor
from torch.nn import functional as F

_MIN_SPARE_TOKENS = 64


class LayerCache:
    """Keys and values of one layer of one request, [1, heads, length, head size] each.

    Attributes:
        length: how many tokens there are.
    """

    def __init__(self, capacity: int = 0) -> None:
        """Make an empty cache.

        capacity: how many tokens there will be at most, where that is known; all of their memory is
        allocated with the first, and no more. Where it is 0 the cache grows with spare capacity, at
        most a quarter of its length or 64 tokens, so that a long answer costs time in proportion to
        its length.
        """
        self.length = 0
        self._bias: Tensor | None = None
        self._wide_bias: Tensor | None = None
        self._capacity = capacity
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add new tokens at the end; return all keys and values, as views.

        Where no capacity is known, the first tensors are held, not copied, and never written to.
        Views stay valid: what they show does not change.

        Args:
            keys: [1, heads, new, head size].
            values: [1, heads, new, head size], which may be another head size.
        """
        start = self.length
        self.length += keys.shape[2]
        if self._keys is None and self._capacity > self.length:
            self._keys = keys.new_empty(_resized_shape(keys, self._capacity))
            self._values = values.new_empty(_resized_shape(values, self._capacity))
        if self._keys is None or self._values is None:
            self._keys, self._values = keys, values
            return keys, values
        self._keys = _stored(self._keys, keys, start)
        self._values = _stored(self._values, values, start)
        return self._keys[:, :, : self.length], self._values[:, :, : self.length]

    @property
    def keys(self) -> Tensor | None:
        """[1, heads, length, head size], as a view; None while empty."""
        return None if self._keys is None else self._keys[:, :, : self.length]

    @property
    def values(self) -> Tensor | None:
        """[1, heads, length, head size], as a view; None while empty."""
        return None if self._values is None else self._values[:, :, : self.length]

    @property
    def bias(self) -> Tensor | None:
        """float32 [first keys], added to the attention logits of the first keys.

        Keys after them have 0, as have all keys where it is None.
        """
        return self._bias

    @bias.setter
    def bias(self, bias: Tensor | None) -> None:
        """Set the bias of the first keys; None for no bias."""
        self._bias, self._wide_bias = bias, None

    @property
    def full_bias(self) -> Tensor | None:
        """float32 [length], the bias of all keys; None where there is none."""
        if self._bias is None:
            return None
        if self._wide_bias is None or len(self._wide_bias) < self.length:
            capacity = max(self._capacity, self.length + _MIN_SPARE_TOKENS)
            self._wide_bias = F.pad(self._bias, (0, capacity - len(self._bias)))
        return self._wide_bias[: self.length]

    @property
    def byte_count(self) -> int:
        """Bytes of the keys and values, without spare capacity."""
        views = (self.keys, self.values)
        return sum(view.nbytes for view in views if view is not None)

    @property
    def held_byte_count(self) -> int:
        """Bytes of all memory held, spare capacity included."""
        held = (self._keys, self._values)
        return sum(buffer.nbytes for buffer in held if buffer is not None)


def _stored(buffer: Tensor, new: Tensor, start: int) -> Tensor:
    """Write `new` at `start` into the buffer, or into a larger copy where it does not fit."""
    end = start + new.shape[2]
    if end > buffer.shape[2]:
        larger = buffer.new_empty(_resized_shape(buffer, end + max(_MIN_SPARE_TOKENS, end // 4)))
        larger[:, :, :start] = buffer[:, :, :start]
        buffer = larger
    buffer.narrow(2, start, new.shape[2]).copy_(new)
    return buffer


def _resized_shape(tensor: Tensor, length: int) -> tuple[int, int, int, int]:
    return (tensor.shape[0], tensor.shape[1], length, tensor.shape[3])
