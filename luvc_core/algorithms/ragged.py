"""A key/value cache whose layers differ in length, because pruning leaves fewer tokens in deeper layers."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class LayerCache:
    """Keys and values of one layer of one request, [1, heads, length, head size] each."""

    keys: Tensor | None = field(default=None, repr=False)
    values: Tensor | None = field(default=None, repr=False)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add new tokens at the end; returns all keys and values. Shapes [1, heads, new, head size]."""
        if self.keys is None or self.values is None:
            self.keys, self.values = keys, values
        else:
            self.keys = torch.cat((self.keys, keys), dim=2)
            self.values = torch.cat((self.values, values), dim=2)
        return self.keys, self.values

    @property
    def length(self) -> int:
        return 0 if self.keys is None else self.keys.shape[2]

    @property
    def byte_count(self) -> int:
        return 0 if self.keys is None or self.values is None else self.keys.nbytes + self.values.nbytes
