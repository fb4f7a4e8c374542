"""The text of an answer's tokens, piece by piece."""

from collections.abc import Callable, Sequence

_BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character, or not yet


class Detokenizer:
    """Turns tokens into text as soon as the text is certain.

    The pieces, put together, are the text of all tokens, up to the first stop string. A piece never
    ends inside a character, and never holds what may be the beginning of a stop string.

    Attributes:
        stopped: whether a stop string came; there is no text after it.
    """

    def __init__(self, text_of: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        """Begin an answer.

        text_of: decodes any tokens. The text of tokens that end with a character must be a prefix
        of the text of these and any further ones. stop: strings that end the answer.
        """
        self.stopped = False
        self._text_of = text_of
        self._stop = tuple(stop)
        # Tokens not yet turned into text, after those of the last piece: some tokenizers write a
        # token in another way at the beginning of a text.
        self._context: list[int] = []
        self._fresh: list[int] = []
        self._held = ""

    def push(self, token: int) -> str:
        """Add a token; return the text that it makes certain, often none. Empty after `stopped`."""
        if self.stopped:
            return ""
        self._fresh.append(token)
        text = self._fresh_text()
        if not text or text.endswith(_BROKEN):
            return ""
        self._context, self._fresh = self._fresh, []
        return self._release(text)

    def finish(self) -> str:
        """Return the rest of the text, when no more tokens come. Empty after `stopped`."""
        if self.stopped:
            return ""
        text = self._release(self._fresh_text())
        rest, self._held = self._held, ""
        return text if self.stopped else text + rest

    def _fresh_text(self) -> str:
        known = self._text_of(self._context) if self._context else ""
        return self._text_of(self._context + self._fresh)[len(known) :]

    def _release(self, text: str) -> str:
        """Hold back what may become a stop string. The stop string that ends first counts."""
        self._held += text
        ends_and_starts = [
            (start + len(s), start) for s in self._stop if (start := self._held.find(s)) >= 0
        ]
        if ends_and_starts:
            self.stopped = True
            return self._held[: min(ends_and_starts)[1]]
        keep = max((_overlap(self._held, s) for s in self._stop), default=0)
        certain = self._held[: len(self._held) - keep]
        self._held = self._held[len(certain) :]
        return certain


def _overlap(text: str, stop: str) -> int:
    """Measure the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
