"""A checkpoint's tokenizer and chat template, with room made for visual tokens."""

import itertools
from collections.abc import Sequence
from typing import Any

import jinja2
from transformers import AutoTokenizer

from luvc_core.chat import Message
from luvc_core.errors import CheckpointError, InvalidInput
from luvc_core.models.resolve import Checkpoint
from luvc_core.tokens import VisionTokens

TEXT = -1


class ChatTokenizer:
    """Text to ids and back. `placeholder` is the token that the template writes for a picture.

    Raises CheckpointError for a folder without tokenizer, chat template or placeholder.
    """

    def __init__(self, checkpoint: Checkpoint, placeholder: str) -> None:
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
        if placeholder not in specials:
            raise CheckpointError(f"{folder}: the tokenizer has no special token {placeholder}")
        self._specials = frozenset(specials)
        self._placeholder_id: int = self._tokenizer.convert_tokens_to_ids(placeholder)
        picture = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}
        try:
            rendered = self._render([picture])
        except jinja2.TemplateError as error:
            raise CheckpointError(f"{folder}: the chat template fails: {error}") from error
        if rendered.count(placeholder) != 1:
            raise CheckpointError(f"{folder}: the chat template has no {placeholder} for a picture")

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

    def ids_of(self, messages: Sequence[Message[VisionTokens]]) -> tuple[list[int], list[int]]:
        """Ids of a conversation that waits for an answer, and the picture each belongs to.

        The i-th picture in reading order stands in its place as one placeholder a visual token;
        TEXT marks all other ids.
        """
        for i, message in enumerate(messages):
            self._refuse_specials(f"messages[{i}]", message)
        try:
            text = self._render([{"role": m.role, "content": _content(m)} for m in messages])
        except jinja2.TemplateError as error:
            raise InvalidInput("messages", f"the model's chat template says: {error}") from error
        pictures = [p for m in messages for p in m.parts if isinstance(p, VisionTokens)]
        ids: list[int] = []
        segment: list[int] = []
        numbers = itertools.count()
        for token in self._tokenizer(text, add_special_tokens=False).input_ids:
            number = next(numbers) if token == self._placeholder_id else TEXT
            count = 1 if number == TEXT else pictures[number].grid.token_count
            ids += [token] * count
            segment += [number] * count
        return ids, segment

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


def _content(message: Message[VisionTokens]) -> str | list[dict[str, str]]:
    if all(isinstance(part, str) for part in message.parts):
        return "".join(part for part in message.parts if isinstance(part, str))
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in message.parts
    ]
