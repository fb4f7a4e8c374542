"""Pages of the docs, and the parts of them that checks look at."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Page:
    """A page with its text, which may be that of a test."""

    path: Path
    text: str

    @property
    def prose(self) -> str:
        """Without fenced blocks."""
        return FENCE.sub("", self.text)

    @property
    def code(self) -> Iterator[str]:
        """Lines of fenced and indented blocks, and code within lines."""
        for block in FENCE.findall(self.text):
            yield from block.splitlines()
        for line in self.prose.splitlines():
            if line.startswith("    "):
                yield line.strip()
            yield from CODE.findall(line)

    @property
    def blocks(self) -> Iterator[str]:
        """Paragraphs, items of lists and rows of tables."""
        yield from re.split(r"\n\s*\n|\n(?=\s*(?:[-|]|\d+\.) ?)", self.prose)

    @property
    def anchors(self) -> set[str]:
        """As GitHub makes them of headings."""
        titles = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", t) for t in HEADING.findall(self.prose))
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def page_at(path: Path) -> Page:
    return Page(path, path.read_text())
