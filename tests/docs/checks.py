"""What a page of the docs may be wrong about: files, commands, flags, metrics, names in code."""

import contextlib
import dataclasses
import importlib.util
import io
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from luvc.cli.main import main as luvc

from decoder_service.config import DecoderConfig
from deploy.check.queries import exported
from encoder_service.config import EncoderConfig
from tests.docs.code_names import ROOT, names_of, names_of_product, source
from tests.docs.pages import CODE, LINK, Page, page_at

# Of programs that are not ours: ray, docker, kubectl.
FOREIGN_FLAGS = {
    "--metrics-export-port", "--build", "--build-arg", "--from-literal", "--for", "--previous",
    "--help",
}  # fmt: skip

# `one`, `two` and `three` of [file](link)
_LISTED = r"((?:`[^`\n]+`(?:,|\s+and|\s+or)?\s+)+)"
_NAMES_OF = re.compile(_LISTED + r"(?:of|in)\s+\[[^]]*\]\(([^()\s]+)\)")
_LINKED = re.compile(r"\[[^]]*\]\([^()\s]+\)")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(.*)?")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_FOLDERS = "benchmarks|decoder_service|deploy|docs|encoder_service|luvc_core|protos|tests"
_PATH = re.compile(rf"(?<![\w./-])(?:{_FOLDERS})/(?!luvc-encoder)[\w./-]*")


def links(page: Page) -> Iterator[str]:
    """Find links to files, and to headings in them, that are not there."""
    for target in LINK.findall(page.prose):
        name, _, anchor = target.partition("#")
        if "://" in target:
            continue
        path = (page.path.parent / name).resolve() if name else page.path
        if not path.exists() or not path.is_relative_to(ROOT):
            yield f"no file {target}"
        elif anchor and path.suffix == ".md" and anchor not in (
            page if path == page.path else page_at(path)
        ).anchors:  # fmt: skip
            yield f"no heading {target}"


def paths(page: Page) -> Iterator[str]:
    """Find paths from the root, in code, that lead nowhere."""
    for line in page.code:
        for path in _PATH.findall(line):
            if not (ROOT / path.rstrip(".")).exists():
                yield f"no file {path}"


def targets(page: Page) -> Iterator[str]:
    """Find targets of make that the Makefile does not have."""
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in page.code:
        for target in re.findall(r"(?<![\w-])make ([a-z][a-z-]*)", line):
            if target not in known:
                yield f"no make {target}"


def modules(page: Page) -> Iterator[str]:
    """Find modules that Python cannot run, and flags that they do not have."""
    for line in page.code:
        for name, arguments in re.findall(r"python -m ([\w.]+)([^|;&]*)", line):
            if name == "pytest":
                continue
            if name.split(".")[-1].isupper():  # stands for any
                continue
            if not _is_module(name):
                yield f"no module {name}"
                continue
            known = SERVICES.get(name) or flags_in_source(name)
            yield from (f"{name} has no {f}" for f in _FLAG.findall(arguments) if f not in known)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def commands(page: Page) -> Iterator[str]:
    """Find subcommands of `luvc` that do not exist, and flags that they do not have."""
    for line in page.code:
        found = re.match(r"(?:\.venv/bin/)?luvc ([a-z]+)(.*)", line)
        if not found:
            continue
        flags = flags_of_command(found[1])
        if not flags:
            yield f"no luvc {found[1]}"
            continue
        used = _FLAG.findall(found[2])
        yield from (f"luvc {found[1]} has no {f}" for f in used if f not in flags)


def flags(page: Page) -> Iterator[str]:
    """Find flags, and variables that stand for them, that no program has."""
    known = all_flags()
    for line in page.code:
        yield from (f"nobody has {f}" for f in _FLAG.findall(line) if f not in known)
        for half, name in re.findall(r"LUVC_(ENCODER|DECODER)_([A-Z][A-Z_]+)", line):
            flag = "--" + name.lower().replace("_", "-")
            if flag not in SERVICES[f"{half.lower()}_service"]:
                yield f"no LUVC_{half}_{name}"


def metrics(page: Page) -> Iterator[str]:
    """Find metrics that no service exports."""
    for line in CODE.findall(page.prose):
        name = line.partition("{")[0]
        if re.fullmatch(r"(ray_)?luvc_(?!core)[a-z_]+", name):
            known = exported().keys()
            if not {name, f"{name}_bucket"} & known:
                yield f"no metric {name}"


def classes(page: Page) -> Iterator[str]:
    """Find classes and messages, such as `VisionTokens`, that the product does not have."""
    for line in CODE.findall(page.prose):
        found = re.fullmatch(r"((?:[A-Z][a-z0-9]+){2,})(?:[.(].*)?", line)
        if found and not re.search(rf"\b{found[1]}\b", source()):
            yield f"no class {found[1]}"


def names(page: Page) -> Iterator[str]:
    """Find names in code, beside a link to a file, that do not exist.

    What is said to be `of` or `in` a linked file has to be there. Other names in a row of a table,
    or in an item of a list, with linked files have to be in one of them or in the product.
    """
    for block in page.blocks:
        linked = [path for target in LINK.findall(block) if (path := _code_file(page, target))]
        elsewhere = names_of_product().union(*map(names_of, linked))
        claimed = {
            (name, path)
            for listed, target in _NAMES_OF.findall(block)
            if (path := _code_file(page, target))
            for name in CODE.findall(listed)
        }
        for name, path in sorted(claimed):
            if not _parts(name) <= names_of(path):
                yield f"no {name} in {path.name}"
        if linked and re.match(r"\s*(\||-|\d+\.)", block):
            # A name that a link shows is that of the file.
            shown = CODE.findall(_LINKED.sub("", block))
            yield from (f"nowhere {name}" for name in shown if not _parts(name) <= elsewhere)


CHECKS: tuple[Callable[[Page], Iterator[str]], ...] = (
    links, paths, targets, modules, commands, flags, metrics, classes, names,
)  # fmt: skip


def flags_of(config: type) -> set[str]:
    return {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(config)}


SERVICES = {"encoder_service": flags_of(EncoderConfig), "decoder_service": flags_of(DecoderConfig)}


@cache
def flags_of_command(name: str) -> frozenset[str]:
    """Read the flags of `luvc NAME` from its help; none where there is no such command."""
    text = io.StringIO()
    with (
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(io.StringIO()),
        pytest.raises(SystemExit) as ended,
    ):
        luvc([name, "--help"])
    return frozenset(_FLAG.findall(text.getvalue())) if ended.value.code == 0 else frozenset()


@cache
def flags_in_source(module: str) -> frozenset[str]:
    """Read the flags that a module or its package names in quotes, perhaps without dashes."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    origin = Path(spec.origin)
    files = origin.parent.rglob("*.py") if origin.name == "__init__.py" else [origin]
    text = "\n".join(file.read_text() for file in files)
    names = re.findall(r'"(?:--)?([a-z][a-z-]*)"', text)
    return frozenset(f"--{name}" for name in names) | {"--help"}


def _code_file(page: Page, target: str) -> Path | None:
    """Return the file behind a link if names can be looked up in it."""
    path = (page.path.parent / target.partition("#")[0]).resolve()
    return path if path.suffix in (".py", ".proto") and path.is_file() else None


def _parts(code: str) -> set[str]:
    """Split `Class.method(...)` or `module.py` into its names; none where it is no name in code."""
    name = code.partition("(")[0].removesuffix(".py")
    return set(name.split(".")) if _NAME.fullmatch(code) else set()


@cache
def all_flags() -> frozenset[str]:
    own = (flags_of_command(name) for name in ("ask", "serve", "models", "calibrate"))
    files = [
        p
        for folder in ("benchmarks", "deploy", "docs/examples")
        for p in (ROOT / folder).rglob("*.py")
    ]
    elsewhere = re.findall(r'"(--[a-z][a-z-]*)"', "\n".join(p.read_text() for p in files))
    return frozenset(FOREIGN_FLAGS).union(*SERVICES.values(), *own, elsewhere)
