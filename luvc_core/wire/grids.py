"""The pieces of an image or video with their grids, and the frames of a video."""

import math
from collections.abc import Sequence
from dataclasses import asdict

from luvc.v1 import tokens_pb2

from luvc_core.errors import InvalidInput
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, Separators, VideoFrames

SEPARATORS: dict[Separators, tokens_pb2.Separators] = {
    "none": tokens_pb2.SEPARATORS_NONE,
    "row": tokens_pb2.SEPARATORS_ROW,
    "piece": tokens_pb2.SEPARATORS_PIECE,
}
_SEPARATORS_BY_NUMBER: dict[int, Separators] = {
    tokens_pb2.SEPARATORS_UNSPECIFIED: "none",
    **{number: name for name, number in SEPARATORS.items()},
}


def write_pieces(pieces: Sequence[Piece]) -> tokens_pb2.VisionTokens:
    """Write the pieces of an image or video: a message that holds nothing else.

    One piece without separators takes the fields `grid` and `source_grid`, which decoders of the
    first release understand.
    """
    message = tokens_pb2.VisionTokens()
    simple = [piece.separators for piece in pieces] == ["none"]
    for piece in pieces:
        target = message if simple else message.pieces.add(separators=SEPARATORS[piece.separators])
        target.grid.CopyFrom(tokens_pb2.Grid(**asdict(piece.grid)))
        target.source_grid.CopyFrom(tokens_pb2.Grid(**asdict(piece.source_grid)))
    return message


def read_pieces(message: tokens_pb2.VisionTokens, field: str) -> tuple[Piece, ...]:
    """Read the pieces of an image or video.

    Args:
        message: visual tokens that are no reference.
        field: the message's name in errors.

    Raises:
        InvalidInput: for a grid without tokens, and for separators that do not exist.
    """
    if not message.pieces:
        return (_read_piece(message, field, "none"),)
    pieces = []
    for i, piece in enumerate(message.pieces):
        name = f"{field}.pieces[{i}]"
        if piece.separators not in _SEPARATORS_BY_NUMBER:
            allowed = ", ".join(map(tokens_pb2.Separators.Name, _SEPARATORS_BY_NUMBER))
            raise InvalidInput(f"{name}.separators", f"got {piece.separators}", allowed)
        pieces.append(_read_piece(piece, name, _SEPARATORS_BY_NUMBER[piece.separators]))
    return tuple(pieces)


def _read_piece(
    message: tokens_pb2.Piece | tokens_pb2.VisionTokens, field: str, separators: Separators
) -> Piece:
    grid = _read_grid(message.grid, f"{field}.grid")
    return Piece(grid, _read_grid(message.source_grid, f"{field}.source_grid"), separators)


def _read_grid(message: tokens_pb2.Grid, field: str) -> Grid:
    grid = Grid(message.frames, message.rows, message.columns)
    if grid.token_count < 1:
        raise InvalidInput(field, f"got {grid}", "at least 1x1x1")
    return grid


def write_video_frames(frames: VideoFrames) -> tokens_pb2.ClipFrames:
    """Write how many frames of a video were looked at, and their interval."""
    return tokens_pb2.ClipFrames(count=frames.count, interval_seconds=frames.interval)


def read_video_frames(message: tokens_pb2.ClipFrames, field: str) -> VideoFrames:
    """Read how many frames of a video were looked at, and their interval.

    Raises InvalidInput unless there is a frame, and the interval is finite and not negative.
    """
    frames = VideoFrames(message.count, message.interval_seconds)
    if frames.count < 1:
        raise InvalidInput(f"{field}.count", f"got {frames.count}", ">= 1")
    if not (math.isfinite(frames.interval) and frames.interval >= 0):
        raise InvalidInput(f"{field}.interval_seconds", f"got {frames.interval}", ">= 0, finite")
    return frames
