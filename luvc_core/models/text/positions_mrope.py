"""Language halves whose positions have three axes: frame, row and column (M-RoPE)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from luvc_core.chat import Message
from luvc_core.errors import InvalidInput
from luvc_core.models.base import Prompt, runs_of
from luvc_core.models.text.chat_tokenizer import TEXT
from luvc_core.models.text.decoder import TextHalf
from luvc_core.visual_tokens.vision_tokens import VideoFrames, VisionTokens, raster


class TextMrope(TextHalf):
    """A language half whose positions count frames, rows and columns."""

    positions = "M-RoPE"

    def tokenize(self, messages: Sequence[Message[VisionTokens]]) -> Prompt:
        ids, segment, images = self._tokenizer.ids_of(messages)
        positions = self._mrope_positions(segment, images)
        next_position = float(positions.max()) + 1
        return Prompt(ids, segment, positions, next_position, images)

    def _mrope_positions(self, segment: Tensor, images: Sequence[VisionTokens]) -> Tensor:
        """Compute positions, float32 [length, 3].

        Text counts on all three axes. An image or video starts at the next position and counts its
        frames, rows and columns from there. Text goes on after its longer side, however many frames
        it has.
        """
        parts: list[Tensor] = []
        start = 0
        for image, length in runs_of(segment):
            if image == TEXT:
                parts.append(torch.arange(start, start + length).float().unsqueeze(1).expand(-1, 3))
                start += length
            else:
                tokens = images[image]
                if [piece.separators for piece in tokens.pieces] != ["none"]:
                    raise InvalidInput(f"vision_tokens[{image}].pieces", "several", "one grid")
                piece = tokens.pieces[0]
                extent = piece.source_grid if tokens.source_positions else piece.grid
                spread = tokens.positions if tokens.source_positions else raster(piece.grid)
                if tokens.video:
                    times = self._times(spread[:, 0], tokens.video)
                    self._check_times(start + times, f"vision_tokens[{image}].clip")
                    spread = torch.cat((times.unsqueeze(1), spread[:, 1:]), dim=1)
                parts.append(spread + start)
                start += max(extent.rows, extent.columns)
        return torch.cat(parts)

    def _times(self, frames: Tensor, video: VideoFrames) -> Tensor:
        """Compute positions on the first axis from frames: [tokens] -> float32 [tokens]."""
        return frames

    def _check_times(self, times: Tensor, field: str) -> None:
        """Raise InvalidInput for positions past the context length."""
        # A few frames, far apart in time, may need more positions than there are tokens.
        last = float(times.max())
        if not last < self.context_length:
            problem = f"its frames reach position {last:g}"
            raise InvalidInput(field, problem, f"positions below {self.context_length}")
