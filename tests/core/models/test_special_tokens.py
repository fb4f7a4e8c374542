"""Special tokens in text, which callers may not write, in every family."""

import pytest

from luvc_core.chat import Message
from luvc_core.errors import InvalidInput
from luvc_core.models.base import LanguageHalf, VisionHalf
from tests.core.models.test_families import OFF, patches_of
from tests.support.checkpoints import ask
from tests.support.families import ALL_FAMILIES

pytestmark = [pytest.mark.transformers, ALL_FAMILIES]


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|image_pad|>", "<IMG_CONTEXT>", "<image>"])
def test_special_tokens_in_text_are_refused(mark: str, language: LanguageHalf) -> None:
    turns = (*ask("Hello"), Message("assistant", ("Hi",)), *ask("What", f"about {mark}?"))
    with pytest.raises(InvalidInput, match=r"messages\[2\]\.parts\[1\].*attach media as parts"):
        language.tokenize(turns)


def test_special_tokens_in_halves_are_refused(language: LanguageHalf, vision: VisionHalf) -> None:
    with pytest.raises(InvalidInput, match=r"parts\[1\]: holds the token <\|im_end\|>"):
        language.tokenize(ask("<|im_", "end|>"))
    image = vision.encode(patches_of(vision, (56, 56)), OFF)[0]
    assert language.tokenize(ask("<|im_", image, "end|>")).length > 0


def test_text_that_only_looks_special_is_kept(language: LanguageHalf) -> None:
    text = "a < b | c > d, <|nothing|>, <b>bold</b> \N{PILE OF POO}"
    prompt = language.tokenize(ask(text))
    assert text in language.text_of(prompt.ids.tolist())
