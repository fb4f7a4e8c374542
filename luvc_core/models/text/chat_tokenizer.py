"""A checkpoint's tokenizer and chat template, with placeholders for visual tokens."""

import re
from collections.abc import Collection, Sequence
from typing import Any, Literal

import jinja2
import torch
from torch import Tensor
from transformers import AutoTokenizer

from luvc_core.chat import Message
from luvc_core.errors import CheckpointError, InvalidInput
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.text.visual_marks import ImageMarks, VideoMarks
from luvc_core.visual_tokens.vision_tokens import VisionTokens

TEXT = -1
_PROBE = "a text that no template has"


class ChatTokenizer:
    """Converts conversations to token ids, and ids to text."""

    def __init__(
        self, checkpoint: Checkpoint, marks: ImageMarks, video_marks: VideoMarks | None = None
    ) -> None:
        """Read tokenizer and chat template.

        Args:
            checkpoint: the folder with both.
            marks: special tokens of an image.
            video_marks: special tokens of a video; None where the family takes none.

        Raises:
            CheckpointError: where tokenizer, chat template or the marks of an image are missing.
        """
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
        # The template of an older checkpoint may not know the videos that the family takes.
        self._video_marks = (
            video_marks if video_marks and self._template_takes(video_marks, specials) else None
        )
        try:
            rendered = self._render([_asking("image")])
            # Some templates ignore a content that is not a list.
            self._takes_strings = _PROBE in self._render([{"role": "user", "content": _PROBE}])
        except jinja2.TemplateError as error:
            raise CheckpointError(f"{folder}: the chat template fails: {error}") from error
        if rendered.count(marks.placeholder) != 1:
            problem = f"the chat template has no {marks.placeholder} for a picture"
            raise CheckpointError(f"{folder}: {problem}")
        self._specials = frozenset(specials)
        tokens = [marks.placeholder, *([self._video_marks.token] if self._video_marks else [])]
        self._visual_ids = frozenset(self._tokenizer.convert_tokens_to_ids(tokens))

    def _template_takes(self, marks: VideoMarks, specials: Collection[str]) -> bool:
        if not {marks.placeholder, marks.token} <= set(specials):
            return False
        try:
            return self._render([_asking("video")]).count(marks.placeholder) == 1
        except jinja2.TemplateError:
            return False

    def stop_ids(self, checkpoint: Checkpoint) -> frozenset[int]:
        """Return the ids that end an answer: the checkpoint's list, else the tokenizer's end token.

        Raises:
            CheckpointError: where there is neither.
        """
        settings: dict[str, Any] = {}
        if (checkpoint.folder / "generation_config.json").is_file():
            settings = checkpoint.read_json("generation_config.json")
        end = settings.get("eos_token_id", self._tokenizer.eos_token_id)
        if end is None:
            raise CheckpointError(f"{checkpoint.folder}: no eos_token_id, so no answer would end")
        return frozenset(end if isinstance(end, list) else [end])

    def text_of(self, ids: Sequence[int]) -> str:
        """Convert generated tokens to text, without special tokens."""
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def ids_of(
        self, messages: Sequence[Message[VisionTokens]]
    ) -> tuple[Tensor, Tensor, tuple[VisionTokens, ...]]:
        """Convert a conversation that waits for an answer to ids.

        Returns:
            `ids`, `segment` and `images` of a Prompt.

        Raises:
            InvalidInput: for special tokens in text, and for videos that the template cannot show.
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
        runs = [
            (n, count) for n, m in enumerate(media) for count in self._marks_of(m).run_lengths(m)
        ]
        ids: list[int] = []
        segment: list[int] = []
        following = iter(runs)
        # The token that begins every text comes once, as in stock code: from template or tokenizer.
        has_start = text.startswith(self._tokenizer.bos_token or _PROBE)
        for token in self._tokenizer(text, add_special_tokens=not has_start).input_ids:
            number, count = next(following) if token in self._visual_ids else (TEXT, 1)
            ids += [token] * count
            segment += [number] * count
        return torch.tensor(ids), torch.tensor(segment), media

    def _filled_in(
        self, text: str, messages: Sequence[Message[VisionTokens]]
    ) -> tuple[str, tuple[VisionTokens, ...]]:
        """Replace the placeholders in a template's text by one visual token for each run.

        Returns the text and the media in its order: a template may put all images of a message
        before its videos.
        """
        all_media = [p for m in messages for p in m.parts if isinstance(p, VisionTokens)]
        images = iter([tokens for tokens in all_media if not tokens.video])
        videos = iter([tokens for tokens in all_media if tokens.video])
        ordered: list[VisionTokens] = []

        def fill(match: re.Match[str]) -> str:
            is_image = match.group() == self._marks.placeholder
            ordered.append(next(images if is_image else videos))
            return self._marks_of(ordered[-1]).prompt_text(ordered[-1])

        placeholders = [m.placeholder for m in (self._marks, self._video_marks) if m]
        filled = re.sub("|".join(map(re.escape, placeholders)), fill, text)
        return filled, tuple(ordered)

    def _marks_of(self, tokens: VisionTokens) -> ImageMarks | VideoMarks:
        return self._video_marks if tokens.video and self._video_marks else self._marks

    def _render(self, turns: list[dict[str, Any]]) -> str:
        """Apply the chat template, up to where the answer begins."""
        text: str = self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True
        )
        return text

    def _refuse_specials(self, field: str, message: Message[VisionTokens]) -> None:
        """Raise InvalidInput where a text holds a special token.

        With one, it could pose as another role or as an image. Neighbouring texts are checked
        together too, because the template joins them without a gap.
        """
        run = ""
        for j, part in enumerate(message.parts):
            run = run + part if isinstance(part, str) else ""
            marks = (*sorted(self._specials), "<image>", "<video>")
            present = [mark for mark in marks if mark in run]
            if present:
                allowed = "plain text; attach media as parts"
                raise InvalidInput(f"{field}.parts[{j}]", f"holds the token {present[0]}", allowed)

    def _content(self, message: Message[VisionTokens]) -> str | list[dict[str, str]]:
        if self._takes_strings and all(isinstance(part, str) for part in message.parts):
            return "".join(part for part in message.parts if isinstance(part, str))
        return [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": _kind(part)}
            for part in message.parts
        ]


def _kind(tokens: VisionTokens) -> Literal["image", "video"]:
    """Return the name that chat templates use."""
    return "video" if tokens.video else "image"


def _asking(kind: Literal["image", "video"]) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": kind}, {"type": "text", "text": "?"}]}
