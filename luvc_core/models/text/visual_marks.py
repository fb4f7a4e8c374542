"""The special tokens that stand for the visual tokens of an image or video in a prompt."""

from dataclasses import dataclass

from luvc_core.errors import InvalidInput
from luvc_core.visual_tokens.vision_tokens import VisionTokens


@dataclass(frozen=True)
class ImageMarks:
    """The special tokens around and in place of the visual tokens of an image.

    Attributes:
        placeholder: what the chat template writes for an image; the prompt repeats it for each
            visual token.
        before: what the processor, not the template, puts before all of them.
        after: what it puts after them.
    """

    placeholder: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def prompt_text(self, tokens: VisionTokens) -> str:
        """Return the text of one image, with one placeholder for its run of visual tokens."""
        return "".join((*self.before, self.placeholder, *self.after))

    def run_lengths(self, tokens: VisionTokens) -> list[int]:
        """Return the number of visual tokens in each run."""
        return [tokens.token_count]


@dataclass(frozen=True)
class VideoMarks:
    """The special tokens around and in place of the visual tokens of a video.

    Attributes:
        placeholder: what the chat template writes for a video.
        token: what the prompt holds for each visual token.
        frame: the text of one frame, with `{number}`, counted from 1, and one `{token}`, where each
            frame is a run of its own; one line per frame replaces the placeholder. Else empty.
    """

    placeholder: str
    token: str
    frame: str = ""

    def prompt_text(self, tokens: VisionTokens) -> str:
        """Return the text of one video, with one `token` for each run of visual tokens."""
        if not self.frame:
            return self.token
        frames = range(1, tokens.pieces[0].grid.frames + 1)
        return "\n".join(self.frame.format(number=n, token=self.token) for n in frames)

    def run_lengths(self, tokens: VisionTokens) -> list[int]:
        """Return the number of visual tokens in each run.

        Raises:
            InvalidInput: for tokens that are not frames of one grid.
        """
        if not self.frame:
            return [tokens.token_count]
        if [piece.separators for piece in tokens.pieces] != ["none"]:
            raise InvalidInput("vision_tokens.pieces", "several", "one grid of frames for a clip")
        grid = tokens.pieces[0].grid
        return [grid.rows * grid.columns] * grid.frames
