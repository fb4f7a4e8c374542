"""A checkpoint's tokenizer and chat template, with room made for visual tokens."""

from collections.abc import Sequence

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
        self._specials = sorted(specials)
        self._media_marks = {placeholder, "<image>"}
        self._placeholder_id: int = self._tokenizer.convert_tokens_to_ids(placeholder)

    def id_of(self, token: str) -> int | None:
        """Id of a special token, None if the tokenizer has none of this name."""
        return self._tokenizer.convert_tokens_to_ids(token) if token in self._specials else None

    @property
    def end_id(self) -> int | None:
        """Id of the tokenizer's own end token."""
        end: int | None = self._tokenizer.eos_token_id
        return end

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
        pictures = [p for m in messages for p in m.parts if isinstance(p, VisionTokens)]
        ids: list[int] = []
        segment: list[int] = []
        seen = 0
        for token in self._tokenizer(self._render(messages), add_special_tokens=False).input_ids:
            is_picture = token == self._placeholder_id and seen < len(pictures)
            count = pictures[seen].grid.token_count if is_picture else 1
            ids += [token] * count
            segment += [seen if is_picture else TEXT] * count
            seen += token == self._placeholder_id
        if seen != len(pictures):
            raise CheckpointError(
                f"the chat template made room for {seen} pictures of {len(pictures)}"
            )
        return ids, segment

    def _render(self, messages: Sequence[Message[VisionTokens]]) -> str:
        """Text of the whole conversation, up to where the answer begins."""
        turns = [{"role": m.role, "content": _content(m)} for m in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        except jinja2.TemplateError as error:
            raise InvalidInput("messages", f"the model's chat template says: {error}") from error
        return text

    def _refuse_specials(self, field: str, message: Message[VisionTokens]) -> None:
        """Special tokens in text would let it pose as another role, or as a picture.

        Neighbouring texts are checked as one too, for the template joins them without a gap.
        """
        run = ""
        for j, part in enumerate(message.parts):
            run = run + part if isinstance(part, str) else ""
            marks = {*self._specials, *self._media_marks}
            found = next((mark for mark in sorted(marks) if mark in run), None)
            if found is not None:
                advice = "attach media as parts" if found in self._media_marks else "plain text"
                raise InvalidInput(f"{field}.parts[{j}]", f"holds the token {found}", advice)


def _content(message: Message[VisionTokens]) -> str | list[dict[str, str]]:
    if all(isinstance(part, str) for part in message.parts):
        return "".join(part for part in message.parts if isinstance(part, str))
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in message.parts
    ]
