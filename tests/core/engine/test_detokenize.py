"""Text from tokens: whole characters only, and nothing of a stop string."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.common.chat_templates import token_id
from luvc_core.chat import Message
from luvc_core.engine.detokenize import Detokenizer
from luvc_core.models.base import LanguageHalf

# Of one to four bytes, a combining mark, and what decoders write for broken bytes.
LETTERS = "aZ \n\0éß\u0301界한\u200d🙂𝄞\ufffd"


def bytes_to_text(ids: Sequence[int]) -> str:
    """Decode as a tokenizer of one token a byte."""
    return bytes(ids).decode("utf-8", errors="replace")


def pieces(ids: Sequence[int], stop: Sequence[str] = ()) -> tuple[list[str], bool]:
    detokenizer = Detokenizer(bytes_to_text, stop)
    found = [detokenizer.push(token) for token in ids]
    return [*found, detokenizer.finish()], detokenizer.stopped


def before_stop(text: str, stop: Sequence[str]) -> str:
    """Return what is left when the text is read letter by letter until it ends in a stop string."""
    for end in range(1, len(text) + 1):
        hits = [s for s in stop if text[:end].endswith(s)]
        if hits:
            return text[: end - max(map(len, hits))]
    return text


@given(st.text(LETTERS, max_size=30))
def test_pieces_are_whole_characters(text: str) -> None:
    found, stopped = pieces(text.encode())
    assert "".join(found) == text
    assert not stopped
    if "\ufffd" not in text:
        # A character comes with its last byte, whole.
        expected = [c for letter in text for c in ([""] * (len(letter.encode()) - 1) + [letter])]
        assert found == [*expected, ""]


@given(st.binary(max_size=40))
def test_any_bytes_give_what_decoding_them_at_once_gives(data: bytes) -> None:
    found, _ = pieces(data)
    assert "".join(found) == bytes_to_text(data)


@given(
    st.text("abé界", max_size=25),
    st.lists(st.text("abé界", min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_text_ends_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    found, stopped = pieces(text.encode(), stop)
    expected = before_stop(text, stop)
    assert "".join(found) == expected
    assert stopped == (expected != text)
    # Nothing that was sent has to be taken back.
    sent = ""
    for piece in found:
        sent += piece
        assert expected.startswith(sent)


def test_what_cannot_become_a_stop_string_is_sent_at_once() -> None:
    detokenizer = Detokenizer(bytes_to_text, ["END"])
    assert [detokenizer.push(b) for b in b"aENx"] == ["a", "", "", "ENx"]
    assert [detokenizer.push(b) for b in b"EN"] == ["", ""]
    assert detokenizer.finish() == "EN"


def test_nothing_follows_a_stop_string() -> None:
    detokenizer = Detokenizer(bytes_to_text, ["."])
    assert "".join(detokenizer.push(b) for b in b"yes. no") == "yes"
    assert detokenizer.stopped
    assert detokenizer.push(ord("x")) == detokenizer.finish() == ""


def test_tokenizers_that_write_the_first_token_otherwise() -> None:
    """As SentencePiece does: the space before the first word of a text is not written."""
    words = ["▁one", "▁two", "▁three"]

    def text_of(ids: Sequence[int]) -> str:
        return "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")

    detokenizer = Detokenizer(text_of)
    assert [detokenizer.push(i) for i in range(3)] == ["one", " two", " three"]


def test_special_tokens_leave_no_trace(language: LanguageHalf) -> None:
    """Not even between the bytes of one character."""
    prompt = language.tokenize((Message("user", ("né 界",)),)).ids.tolist()
    text = language.text_of(prompt)
    detokenizer = Detokenizer(language.text_of)
    with_specials = [t for token in prompt for t in (token, token_id("<|video_pad|>"))]
    assert "".join(map(detokenizer.push, with_specials)) + detokenizer.finish() == text
    assert "né 界" in text
