"""What a page of the docs may be wrong about: files, anchors, commands, modules, flags, metrics."""

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

from benchmarks.common.report import DOCS
from decoder_service.config import DecoderConfig
from deploy.check.queries import exported
from encoder_service.config import EncoderConfig

ROOT = DOCS.parent
# Of programs that are not ours: ray, docker, kubectl.
FOREIGN_FLAGS = {
    "--metrics-export-port", "--build", "--build-arg", "--from-literal", "--for", "--previous",
    "--help",
}  # fmt: skip

_FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_FOLDERS = "benchmarks|decoder_service|deploy|docs|encoder_service|luvc_core|protos|tests"
_PATH = re.compile(rf"(?<![\w./-])(?:{_FOLDERS})/(?!luvc-encoder)[\w./-]*")


@dataclasses.dataclass(frozen=True)
class Page:
    """A page with its text, which may be that of a test."""

    path: Path
    text: str

    @property
    def prose(self) -> str:
        """Without fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def code(self) -> Iterator[str]:
        """Lines of fenced and indented blocks, and code within lines."""
        for block in _FENCE.findall(self.text):
            yield from block.splitlines()
        for line in self.prose.splitlines():
            if line.startswith("    "):
                yield line.strip()
            yield from _CODE.findall(line)

    @property
    def anchors(self) -> set[str]:
        """As GitHub makes them of headings."""
        titles = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", t) for t in _HEADING.findall(self.prose))
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def page_at(path: Path) -> Page:
    return Page(path, path.read_text())


def links(page: Page) -> Iterator[str]:
    """Find links to files, and to headings in them, that are not there."""
    for target in _LINK.findall(page.prose):
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
            if importlib.util.find_spec(name) is None:
                yield f"no module {name}"
                continue
            known = SERVICES.get(name) or flags_in_source(name)
            yield from (f"{name} has no {f}" for f in _FLAG.findall(arguments) if f not in known)


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
    for line in _CODE.findall(page.prose):
        name = line.partition("{")[0]
        if re.fullmatch(r"(ray_)?luvc_(?!core)[a-z_]+", name):
            known = exported().keys()
            if not {name, f"{name}_bucket"} & known:
                yield f"no metric {name}"


def classes(page: Page) -> Iterator[str]:
    """Find classes and messages, such as `VisionTokens`, that the product does not have."""
    for line in _CODE.findall(page.prose):
        found = re.fullmatch(r"((?:[A-Z][a-z0-9]+){2,})(?:[.(].*)?", line)
        if found and not re.search(rf"\b{found[1]}\b", source()):
            yield f"no class {found[1]}"


CHECKS: tuple[Callable[[Page], Iterator[str]], ...] = (
    links, paths, targets, modules, commands, flags, metrics, classes,
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


@cache
def source() -> str:
    """Read all code and protos of the product."""
    folders = ("protos/luvc", "luvc_core", "encoder_service", "decoder_service")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*")]
    return "\n".join(p.read_text() for p in files if p.suffix in (".py", ".proto"))


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
