"""A checkpoint's tokenizer and chat template, with room made for visual tokens."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import torch
from torch import Tensor
from transformers import AutoTokenizer

from luvc_core.chat import Message
from luvc_core.errors import CheckpointError, InvalidInput
from luvc_core.models.resolve import Checkpoint
from luvc_core.tokens import VisionTokens

TEXT = -1
_PROBE = "a text that no template has"


@dataclass(frozen=True)
class PictureMarks:
    """Special tokens: what the chat template writes for a picture, which the prompt holds once a
    visual token, and what the processor, not the template, puts before and after all of them."""

    placeholder: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class ChatTokenizer:
    """Text to ids and back.

    Raises CheckpointError for a folder without tokenizer, chat template or a picture's marks.
    """

    def __init__(self, checkpoint: Checkpoint, marks: PictureMarks) -> None:
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
        self._specials = frozenset(specials)
        to_ids = self._tokenizer.convert_tokens_to_ids
        self._placeholder_id: int = to_ids(marks.placeholder)
        self._before: list[int] = to_ids(list(marks.before))
        self._after: list[int] = to_ids(list(marks.after))
        picture = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}
        try:
            rendered = self._render([picture])
            # Some templates pass over a content that is no list.
            self._takes_strings = _PROBE in self._render([{"role": "user", "content": _PROBE}])
        except jinja2.TemplateError as error:
            raise CheckpointError(f"{folder}: the chat template fails: {error}") from error
        if rendered.count(marks.placeholder) != 1:
            problem = f"the chat template has no {marks.placeholder} for a picture"
            raise CheckpointError(f"{folder}: {problem}")

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
        """A conversation that waits for an answer: `ids`, `segment` and `pictures` of a Prompt."""
        for i, message in enumerate(messages):
            self._refuse_specials(f"messages[{i}]", message)
        try:
            text = self._render([{"role": m.role, "content": self._content(m)} for m in messages])
        except jinja2.TemplateError as error:
            raise InvalidInput("messages", f"the model's chat template says: {error}") from error
        pictures = tuple(p for m in messages for p in m.parts if isinstance(p, VisionTokens))
        ids: list[int] = []
        segment: list[int] = []
        numbers = itertools.count()
        # As stock: what a tokenizer begins every text with comes once, template or not.
        begun = text.startswith(self._tokenizer.bos_token or _PROBE)
        for token in self._tokenizer(text, add_special_tokens=not begun).input_ids:
            if token != self._placeholder_id:
                ids.append(token)
                segment.append(TEXT)
                continue
            number = next(numbers)
            count = pictures[number].token_count
            ids += [*self._before, *[token] * count, *self._after]
            around = [TEXT] * len(self._before), [TEXT] * len(self._after)
            segment += [*around[0], *[number] * count, *around[1]]
        return torch.tensor(ids), torch.tensor(segment), pictures

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
            found = [mark for mark in (*sorted(self._specials), "<image>") if mark in run]
            if found:
                allowed = "plain text; attach media as parts"
                raise InvalidInput(f"{field}.parts[{j}]", f"holds the token {found[0]}", allowed)

    def _content(self, message: Message[VisionTokens]) -> str | list[dict[str, str]]:
        if self._takes_strings and all(isinstance(part, str) for part in message.parts):
            return "".join(part for part in message.parts if isinstance(part, str))
        return [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in message.parts
        ]
