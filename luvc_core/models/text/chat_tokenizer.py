"""A checkpoint's tokenizer and chat template, with room made for visual tokens."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jinja2
import torch
from torch import Tensor
from transformers import AutoTokenizer

from luvc_core.chat import Message
from luvc_core.errors import CheckpointError, InvalidInput
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.visual_tokens.vision_tokens import VisionTokens

TEXT = -1
_PROBE = "a text that no template has"


@dataclass(frozen=True)
class ImageMarks:
    """Special tokens: what the chat template writes for a picture, which the prompt holds once a
    visual token, and what the processor, not the template, puts before and after all of them."""

    placeholder: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def text_of(self, tokens: VisionTokens) -> str:
        """One placeholder for all visual tokens, which are one run."""
        return "".join((*self.before, self.placeholder, *self.after))

    def runs_of(self, tokens: VisionTokens) -> list[int]:
        """How many visual tokens stand in each run."""
        return [tokens.token_count]


@dataclass(frozen=True)
class VideoMarks:
    """placeholder: what the chat template writes for a clip. token: what the prompt holds once a
    visual token. frame: where each frame is a run of its own, the text of one, with `{number}`,
    counted from 1, and one `{token}`; lines of it take the placeholder's place.
    """

    placeholder: str
    token: str
    frame: str = ""

    def text_of(self, tokens: VisionTokens) -> str:
        """One `token` for each run."""
        if not self.frame:
            return self.token
        frames = range(1, tokens.pieces[0].grid.frames + 1)
        return "\n".join(self.frame.format(number=n, token=self.token) for n in frames)

    def runs_of(self, tokens: VisionTokens) -> list[int]:
        """As PictureMarks. Raises InvalidInput for tokens that are no frames of one grid."""
        if not self.frame:
            return [tokens.token_count]
        if [piece.separators for piece in tokens.pieces] != ["none"]:
            raise InvalidInput("vision_tokens.pieces", "several", "one grid of frames for a clip")
        grid = tokens.pieces[0].grid
        return [grid.rows * grid.columns] * grid.frames


class ChatTokenizer:
    """Text to ids and back.

    Raises CheckpointError for a folder without tokenizer, chat template or a picture's marks.
    """

    def __init__(
        self, checkpoint: Checkpoint, marks: ImageMarks, video_marks: VideoMarks | None = None
    ) -> None:
        folder = checkpoint.folder
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder} has no usable tokenizer: {error}") from error
        if self._tokenizer.chat_template is None:
            # Older checkpoints keep the template with the processor.
            self._tokenizer.chat_template = checkpoint.read_json("chat_template.json").get(
                "chat_template"
            )
        specials = {t.content for t in self._tokenizer.added_tokens_decoder.values() if t.special}
        for mark in (marks.placeholder, *marks.before, *marks.after):
            if mark not in specials:
                raise CheckpointError(f"{folder}: the tokenizer has no special token {mark}")
        self._marks = marks
        # A template may be older than the clips that the family takes.
        self._video_marks = (
            video_marks if video_marks and self._knows(video_marks, specials) else None
        )
        try:
            rendered = self._render([_asking("image")])
            # Some templates pass over a content that is no list.
            self._takes_strings = _PROBE in self._render([{"role": "user", "content": _PROBE}])
        except jinja2.TemplateError as error:
            raise CheckpointError(f"{folder}: the chat template fails: {error}") from error
        if rendered.count(marks.placeholder) != 1:
            problem = f"the chat template has no {marks.placeholder} for a picture"
            raise CheckpointError(f"{folder}: {problem}")
        self._specials = frozenset(specials)
        tokens = [marks.placeholder, *([self._video_marks.token] if self._video_marks else [])]
        self._visual_ids = frozenset(self._tokenizer.convert_tokens_to_ids(tokens))

    def _knows(self, marks: VideoMarks, specials: Collection[str]) -> bool:
        if not {marks.placeholder, marks.token} <= set(specials):
            return False
        try:
            return self._render([_asking("video")]).count(marks.placeholder) == 1
        except jinja2.TemplateError:
            return False

    def stop_ids(self, checkpoint: Checkpoint) -> frozenset[int]:
        """Ids that end an answer: the checkpoint's own list, or the tokenizer's end token."""
        settings: dict[str, Any] = {}
        if (checkpoint.folder / "generation_config.json").is_file():
            settings = checkpoint.read_json("generation_config.json")
        end = settings.get("eos_token_id", self._tokenizer.eos_token_id)
        if end is None:
            raise CheckpointError(f"{checkpoint.folder}: no eos_token_id, so no answer would end")
        return frozenset(end if isinstance(end, list) else [end])

    def text_of(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def ids_of(
        self, messages: Sequence[Message[VisionTokens]]
    ) -> tuple[Tensor, Tensor, tuple[VisionTokens, ...]]:
        """A conversation that waits for an answer: `ids`, `segment` and `images` of a Prompt.

        Raises InvalidInput for special tokens in text, and for clips that the template cannot show.
        """
        for i, message in enumerate(messages):
            self._refuse_specials(f"messages[{i}]", message)
            for j, part in enumerate(message.parts):
                if isinstance(part, VisionTokens) and part.video and self._video_marks is None:
                    problem = "a clip, which this model's chat template cannot show"
                    raise InvalidInput(f"messages[{i}].parts[{j}].media", problem, "pictures")
        try:
            text = self._render([{"role": m.role, "content": self._content(m)} for m in messages])
        except jinja2.TemplateError as error:
            raise InvalidInput("messages", f"the model's chat template says: {error}") from error
        text, media = self._filled_in(text, messages)
        runs = [(n, count) for n, m in enumerate(media) for count in self._marks_of(m).runs_of(m)]
        ids: list[int] = []
        segment: list[int] = []
        following = iter(runs)
        # As stock: what a tokenizer begins every text with comes once, template or not.
        begun = text.startswith(self._tokenizer.bos_token or _PROBE)
        for token in self._tokenizer(text, add_special_tokens=not begun).input_ids:
            number, count = next(following) if token in self._visual_ids else (TEXT, 1)
            ids += [token] * count
            segment += [number] * count
        return torch.tensor(ids), torch.tensor(segment), media

    def _filled_in(
        self, text: str, messages: Sequence[Message[VisionTokens]]
    ) -> tuple[str, tuple[VisionTokens, ...]]:
        """The template's text with one visual token a run, and the media in the order of that text:
        a template may show all pictures of a message before its clips."""
        given = [p for m in messages for p in m.parts if isinstance(p, VisionTokens)]
        images = iter([tokens for tokens in given if not tokens.video])
        videos = iter([tokens for tokens in given if tokens.video])
        shown: list[VisionTokens] = []

        def fill(found: re.Match[str]) -> str:
            is_image = found.group() == self._marks.placeholder
            shown.append(next(images if is_image else videos))
            return self._marks_of(shown[-1]).text_of(shown[-1])

        placeholders = [m.placeholder for m in (self._marks, self._video_marks) if m]
        filled = re.sub("|".join(map(re.escape, placeholders)), fill, text)
        return filled, tuple(shown)

    def _marks_of(self, tokens: VisionTokens) -> ImageMarks | VideoMarks:
        return self._video_marks if tokens.video and self._video_marks else self._marks

    def _render(self, turns: list[dict[str, Any]]) -> str:
        """Text of the whole conversation, up to where the answer begins."""
        text: str = self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True
        )
        return text

    def _refuse_specials(self, field: str, message: Message[VisionTokens]) -> None:
        """Special tokens in text would let it pose as another role, or as a picture.

        Neighbouring texts are checked as one too, for the template joins them without a gap.
        """
        run = ""
        for j, part in enumerate(message.parts):
            run = run + part if isinstance(part, str) else ""
            marks = (*sorted(self._specials), "<image>", "<video>")
            found = [mark for mark in marks if mark in run]
            if found:
                allowed = "plain text; attach media as parts"
                raise InvalidInput(f"{field}.parts[{j}]", f"holds the token {found[0]}", allowed)

    def _content(self, message: Message[VisionTokens]) -> str | list[dict[str, str]]:
        if self._takes_strings and all(isinstance(part, str) for part in message.parts):
            return "".join(part for part in message.parts if isinstance(part, str))
        return [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": _kind(part)}
            for part in message.parts
        ]


def _kind(tokens: VisionTokens) -> Literal["image", "video"]:
    """As chat templates call it."""
    return "video" if tokens.video else "image"


def _asking(kind: Literal["image", "video"]) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": kind}, {"type": "text", "text": "?"}]}
