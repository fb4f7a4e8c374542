"""What the two halves exchange: visual tokens, and where they stand in their image or video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.selection import TokenSelection


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


Separators = Literal["none", "row", "piece"]


@dataclass(frozen=True)
class Piece:
    """A raster of tokens: a whole picture, all tiles of one size that it was cut into, or frames.

    grid: after merging; tiles and frames both count as frames. source_grid: before merging.
    separators: where the model puts in tokens that show no place, such as a newline: nowhere, at
    the end of each row, or at the end of the piece.
    """

    grid: Grid
    source_grid: Grid
    separators: Separators = "none"

    @property
    def token_count(self) -> int:
        return self._with_separators(self.grid)

    @property
    def source_token_count(self) -> int:
        return self._with_separators(self.source_grid)

    @property
    def line_length(self) -> int:
        """How many tokens of the grid stand between two separators."""
        return self.grid.columns if self.separators == "row" else self.grid.token_count

    def _with_separators(self, grid: Grid) -> int:
        added = {"none": 0, "row": grid.frames * grid.rows, "piece": 1}
        return grid.token_count + added[self.separators]


@dataclass(frozen=True)
class VideoFrames:
    """What of a clip was looked at: so many frames, and the mean time from one to the next in
    seconds."""

    count: int
    interval: float


@dataclass(frozen=True)
class VisionTokens:
    """Projected visual tokens of one image or video: its pieces in order, each in raster order.

    Attributes:
        embeddings: [tokens, hidden], what the LLM sees in place of the image, separators included.
            Rows that `selection` leaves out need not hold anything, and do not travel.
        pieces: the grids that the tokens form; their token counts sum to `tokens`.
        positions: float32 [tokens, 3], (frame, row, column) in the piece's source grid; may be
            fractional. The column of a separator is one past the last.
        sizes: float32 [tokens], how many source tokens each one stands for. They sum to the source
            grids, since the size of a separator is 0.
        identity: the model that made them.
        merge_sha256: digest of the merge settings that made them.
        source_positions: whether the LLM must use `positions` rather than the merged grid's own.
        video: which frames were looked at; None for an image.
        selection: the tokens that the LLM sees; None for all.
        detail: of the image, as compression.detail measures it. For encoders, whose profiles may
            depend on it; it does not travel.
    """

    embeddings: Tensor
    pieces: tuple[Piece, ...]
    positions: Tensor
    sizes: Tensor
    identity: Identity
    merge_sha256: str
    source_positions: bool = False
    video: VideoFrames | None = None
    selection: TokenSelection | None = None
    detail: float = 0.0

    def __post_init__(self) -> None:
        count = self.token_count
        for name, shape in (
            ("embeddings", (count, self.identity.hidden_size)),
            ("positions", (count, 3)),
            ("sizes", (count,)),
        ):
            actual = tuple(getattr(self, name).shape)
            if actual != shape:
                grids = ", ".join(str(piece.grid) for piece in self.pieces)
                raise ValueError(f"{name} has shape {actual}, but grids {grids} need {shape}")

    @property
    def token_count(self) -> int:
        return sum(piece.token_count for piece in self.pieces)

    @property
    def source_token_count(self) -> int:
        """How many there would be without merging."""
        return sum(piece.source_token_count for piece in self.pieces)

    @property
    def selected_count(self) -> int:
        """How many tokens the LLM sees."""
        return self.token_count if self.selection is None else len(self.selection)

    @property
    def selected_embeddings(self) -> Tensor:
        """[selected, hidden], in raster order: the embeddings that the LLM sees."""
        return (
            self.embeddings if self.selection is None else self.embeddings[self.selection.indices]
        )

    @property
    def byte_count(self) -> int:
        """Bytes of the selected embeddings, which are nearly all that travels."""
        return self.selected_count * self.embeddings.shape[1] * self.embeddings.itemsize

    @property
    def uncompressed_byte_count(self) -> int:
        """Bytes the embeddings would have had without merging."""
        return self.source_token_count * self.embeddings.shape[1] * self.embeddings.itemsize


def raster(grid: Grid) -> Tensor:
    """float32 [tokens, 3]: (frame, row, column) of each."""
    axes = (torch.arange(side) for side in (grid.frames, grid.rows, grid.columns))
    return torch.cartesian_prod(*axes).view(-1, 3).float()


def even_places(pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
    """`positions` and `sizes` of tokens each of which stands for an equal part of its source grid:
    exactly those of tokens that nothing merged."""
    positions, sizes = [], []
    for piece in pieces:
        grid, source = piece.grid, piece.source_grid
        sides = torch.tensor([[s.frames, s.rows, s.columns] for s in (source, grid)])
        lines = ((raster(grid) + 0.5) * (sides[0] / sides[1]) - 0.5).view(-1, piece.line_length, 3)
        own = torch.full(lines.shape[:2], source.token_count / grid.token_count)
        if piece.separators != "none":
            ends = lines[:, -1:].clone()
            ends[..., 2] = source.columns
            lines = torch.cat((lines, ends), dim=1)
            own = torch.cat((own, torch.zeros(len(own), 1)), dim=1)
        positions.append(lines.flatten(0, 1))
        sizes.append(own.flatten())
    return torch.cat(positions), torch.cat(sizes)
