"""Names that stand in code, without its comments and docstrings."""

import re
import tokenize
from functools import cache
from pathlib import Path

from benchmarks.common.report import DOCS

ROOT = DOCS.parent


@cache
def names_of(path: Path) -> frozenset[str]:
    """Read the names that a file of Python or protos uses, and its strings of one word.

    Not those of comments and docstrings, which may outlive what they tell of.
    """
    if path.suffix == ".proto":
        code = re.sub(r"//.*", "", path.read_text())
        return frozenset(re.findall(r"\w+", code))
    found = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.NAME:
                found.add(token.string)
            elif token.type == tokenize.STRING and (
                word := re.fullmatch(r"[\"']([\w-]+)[\"']", token.string)
            ):
                found.add(word[1])
    return frozenset(found)


@cache
def names_of_product() -> frozenset[str]:
    """Read the names of all code and protos of the product, and of its modules and folders."""
    files = [p for p in product_files() if "__pycache__" not in p.parts]
    stems = {part for p in files for part in (*p.relative_to(ROOT).parts[:-1], p.stem)}
    return frozenset(stems).union(*map(names_of, files))


def product_files() -> list[Path]:
    folders = ("protos/luvc", "luvc_core", "encoder_service", "decoder_service")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*")]
    return [p for p in files if p.suffix in (".py", ".proto")]


@cache
def source() -> str:
    """Read all code and protos of the product."""
    return "\n".join(p.read_text() for p in product_files())
