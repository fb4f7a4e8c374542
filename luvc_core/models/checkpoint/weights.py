"""The tensors of a checkpoint, read from its shards as far as one half needs them.

Checkpoints of different ages name their tensors differently. A family says how the prefixes of each
layout map to canonical names. Everything here uses canonical names, and so do digests.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from luvc_core.errors import CheckpointError
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.visual_tokens.hashing import tensor_bytes

Renames = Sequence[tuple[str, str]]

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class Weights:
    """The tensors of a checkpoint under canonical names, read from disk when asked for."""

    def __init__(self, checkpoint: Checkpoint, renames: Renames) -> None:
        """Read the names of all tensors.

        Args:
            checkpoint: a folder with safetensors files.
            renames: (prefix in the file, canonical prefix) pairs; the first that fits applies.

        Raises:
            CheckpointError: for a tensor that no pair fits, or that the shards hold twice.
        """
        self._checkpoint = checkpoint
        self._files: dict[Path, Any] = {}
        self._locations: dict[str, tuple[Path, str]] = {}
        for stored, path in _stored_names(checkpoint):
            name = _canonical(stored, renames)
            if name is None or name in self._locations:
                fault = "is none that this family knows" if name is None else "occurs twice"
                raise CheckpointError(f"{checkpoint.folder}: tensor {stored} {fault}")
            self._locations[name] = path, stored

    def names(self, prefix: str) -> list[str]:
        """Return the canonical names that start with a prefix, sorted."""
        return sorted(name for name in self._locations if name.startswith(prefix))

    def read(self, name: str) -> Tensor:
        """Read one tensor. It may share memory with the file: copy it to keep it."""
        path, stored = self._locations[name]
        try:
            tensor: Tensor = self._open(path).get_tensor(stored)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: tensor {stored} cannot be read: {error}") from error
        return tensor

    def parameter_count(self) -> int:
        """Count the parameters of all tensors, from the headers of the shards."""
        slices = (self._open(path).get_slice(stored) for path, stored in self._locations.values())
        return sum(math.prod(part.get_shape()) for part in slices)

    def sha256(self, prefix: str) -> str:
        """Compute the digest of the tensors under a prefix, with one in memory at a time.

        It is the same for every naming and sharding.
        """
        digest = hashlib.sha256()
        for name in self.names(prefix):
            tensor = self.read(name)
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor_bytes(tensor))
        return digest.hexdigest()

    def load_into(
        self, module: nn.Module, prefix: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Load all weights under a prefix into a module that was built on the meta device.

        Args:
            module: whose parameters are replaced, in evaluation mode afterwards.
            prefix: canonical prefix of its parameters.
            device: where the weights go.
            dtype: number format that they are converted to.

        Raises:
            CheckpointError: naming tensors that are missing, unexpected or of another shape.
        """
        wanted = {prefix + name: value.shape for name, value in module.state_dict().items()}
        names = self.names(prefix)
        self._refuse("missing", sorted(wanted.keys() - set(names)))
        self._refuse("unexpected", sorted(set(names) - wanted.keys()))
        state = {}
        for name in names:
            tensor = self.read(name)
            if tensor.shape != wanted[name]:
                shapes = f"{list(tensor.shape)} instead of {list(wanted[name])}"
                raise CheckpointError(f"{self._checkpoint.folder}: {name} has shape {shapes}")
            state[name.removeprefix(prefix)] = tensor.to(device, dtype, copy=True)
        module.load_state_dict(state, assign=True)
        module.requires_grad_(False).eval()

    def _refuse(self, what: str, names: list[str]) -> None:
        if names:
            listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if names[8:] else "")
            raise CheckpointError(f"{self._checkpoint.folder}: {what} tensors: {listed}")

    def _open(self, path: Path) -> Any:
        if path not in self._files:
            self._files[path] = _open_shard(path)
        return self._files[path]


def _stored_names(checkpoint: Checkpoint) -> Iterator[tuple[str, Path]]:
    """Yield every tensor name of a checkpoint with its file."""
    if (checkpoint.folder / _INDEX).is_file():
        files = checkpoint.read_json(_INDEX).get("weight_map", {})
        for stored, file in sorted(files.items()):
            yield stored, checkpoint.folder / Path(file).name
    else:
        path = checkpoint.folder / _SINGLE
        for stored in sorted(_open_shard(path).keys()):
            yield stored, path


def _open_shard(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no weights: {path.name} is missing") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _canonical(stored: str, renames: Renames) -> str | None:
    for prefix, canonical in renames:
        if stored.startswith(prefix):
            return canonical + stored.removeprefix(prefix)
    return None
