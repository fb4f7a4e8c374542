"""What the two halves exchange: visual tokens, where they stand, and who made them."""

import hashlib
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from luvc_core.errors import IdentityMismatch

PROTOCOL_VERSION = 1


@dataclass(frozen=True)
class Grid:
    """A raster of tokens: frames, then rows, then columns."""

    frames: int
    rows: int
    columns: int

    @property
    def token_count(self) -> int:
        return self.frames * self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.frames}x{self.rows}x{self.columns}"


@dataclass(frozen=True)
class Identity:
    """What visual tokens depend on. Digests are full SHA-256, hex."""

    family: str
    revision: str
    vision_sha256: str
    projector_sha256: str
    preprocessing_sha256: str
    hidden_size: int
    protocol_version: int = PROTOCOL_VERSION

    def __str__(self) -> str:
        return (
            f"{self.family}/{self.revision} (projector {self.projector_sha256[:12]}, "
            f"hidden size {self.hidden_size}, protocol {self.protocol_version})"
        )


# The revision is for people; the vision weights and preprocessing are unknown to a decoder.
_MUST_AGREE = ("family", "projector_sha256", "hidden_size", "protocol_version")


def check_identity(made_by: Identity, served: Identity) -> None:
    """Raise IdentityMismatch unless tokens of `made_by` suit the language model of `served`."""
    differ = [f for f in _MUST_AGREE if getattr(made_by, f) != getattr(served, f)]
    if differ:
        raise IdentityMismatch(
            f"visual tokens were made by {made_by}, but this decoder serves {served}; "
            f"they differ in {', '.join(differ)}"
        )


@dataclass(frozen=True)
class VisionTokens:
    """The projected visual tokens of one picture, in raster order of `grid`.

    embeddings: [tokens, hidden], what the LLM sees in place of the picture.
    grid: after merging; its product is the number of tokens. source_grid: before merging.
    positions: float32 [tokens, 3], (frame, row, column) in the source grid; may be fractional.
    sizes: float32 [tokens], how many source tokens each stands for; sums to the source grid.
    source_positions: the LLM must use `positions` rather than the merged grid's own.
    """

    embeddings: Tensor
    grid: Grid
    source_grid: Grid
    positions: Tensor
    sizes: Tensor
    identity: Identity
    merge_sha256: str
    source_positions: bool = False

    def __post_init__(self) -> None:
        count = self.grid.token_count
        for name, shape in (
            ("embeddings", (count, self.identity.hidden_size)),
            ("positions", (count, 3)),
            ("sizes", (count,)),
        ):
            actual = tuple(getattr(self, name).shape)
            if actual != shape:
                raise ValueError(f"{name} has shape {actual}, but grid {self.grid} needs {shape}")

    @property
    def byte_count(self) -> int:
        """Bytes of the embeddings, which are nearly all that travels."""
        return self.embeddings.nbytes

    @property
    def uncompressed_byte_count(self) -> int:
        """Bytes the embeddings would have had without merging."""
        return self.source_grid.token_count * self.embeddings.shape[1] * self.embeddings.itemsize

    @property
    def llm_positions(self) -> Tensor:
        """float32 [tokens, 3]: (frame, row, column) that the LLM's positions are made from."""
        if self.source_positions:
            return self.positions
        axes = (torch.arange(getattr(self.grid, f.name)) for f in fields(Grid))
        return torch.cartesian_prod(*axes).view(-1, 3).float()


def sha256_of(*tensors: Tensor) -> str:
    """Hex digest over the raw bytes of tensors, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes:
    """Row-major little-endian bytes of a tensor of any dtype."""
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
