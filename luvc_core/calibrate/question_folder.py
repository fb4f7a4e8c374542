"""The folder with the user's media files and the `questions.jsonl` that asks about them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from luvc_core.errors import InvalidInput
from luvc_core.media.decode_video import media_kind_of

QUESTIONS = "questions.jsonl"
LINE = '{"files": ["a.png"], "question": "...", "answer": "..."}'
_FIELDS = ("files", "question", "answer")


@dataclass(frozen=True)
class Question:
    """A question about media files.

    Attributes:
        files: images and videos, in the order in which they are shown.
        text: the question.
        answer: the right answer, where the user knows it.
        location: file and line, for errors.
    """

    files: tuple[Path, ...]
    text: str
    answer: str | None
    location: str

    def read(self) -> list[bytes]:
        """Return the bytes of its files. Raises InvalidInput where one cannot be read."""
        return [self._read(path) for path in self.files]

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise InvalidInput(f"{self.location}: files", f"{path}: {error.strerror}") from None


def shown_alone(files: list[bytes]) -> bool:
    """Tell whether exactly one file is an image; some families then see it in more detail."""
    return sum(media_kind_of(data) == "image" for data in files) == 1


def read_folder(folder: str) -> list[Question]:
    """Read the questions of a folder, in the order of their lines.

    Raises:
        InvalidInput: naming file, line and field of what cannot be used.
    """
    path = Path(folder) / QUESTIONS
    if not Path(folder).is_dir():
        raise InvalidInput(folder, "no such folder", f"a folder with media files and {QUESTIONS}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InvalidInput(folder, f"has no {QUESTIONS}", f"lines {LINE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(str(path), f"cannot be read: {error}", "text in UTF-8") from None
    questions = [
        _question(line, Path(folder), f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not questions:
        raise InvalidInput(str(path), "empty", f"lines {LINE}")
    return questions


def _question(line: str, folder: Path, location: str) -> Question:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise InvalidInput(location, f"no JSON: {error}", LINE) from None
    if not isinstance(fields, dict):
        raise InvalidInput(location, "no JSON object", LINE)
    for name in fields:
        if name not in _FIELDS:
            raise InvalidInput(f"{location}: {name}", "unknown field", ", ".join(_FIELDS))
    files, text, answer = (fields.get(name) for name in _FIELDS)
    if not _is_text(text):
        raise InvalidInput(f"{location}: question", f"got {text!r}", "text")
    if answer is not None and not _is_text(answer):
        raise InvalidInput(f"{location}: answer", f"got {answer!r}", "text, or no such field")
    return Question(_files(files, folder, f"{location}: files"), text, answer, location)


def _files(names: Any, folder: Path, field: str) -> tuple[Path, ...]:
    if not isinstance(names, list) or not names or not all(map(_is_text, names)):
        allowed = "a list of at least one file name, relative to the folder"
        raise InvalidInput(field, f"got {names!r}", allowed)
    paths = tuple(folder / name for name in names)
    for path in paths:
        if not path.is_file():
            raise InvalidInput(field, f"{path} is no file")
    return paths


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())
