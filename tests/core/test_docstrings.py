"""Public functions of the product are documented, and its modules and functions stay short."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("luvc_core", "encoder_service", "decoder_service", "protos/luvc")
GENERATED = "protos/luvc/v1"
MAX_MODULE_LINES = 250
MAX_FUNCTION_LINES = 60
# With more parameters than these, a function has an `Args:` section.
MAX_PLAIN_PARAMETERS = 2

Function = ast.FunctionDef | ast.AsyncFunctionDef

PLANTED = '''
"""A module with every fault that the finder looks for, and what it must not report."""
import abc

def undocumented(): ...

def undescribed(a, *, b, **c):
    """Do it."""

def stale(a, b, c):
    """Do it.

    Args:
        a: one.
        b: two,
            in two lines: d.
        e: renamed.
    """

def _private(a, b, c): ...

class Base(abc.ABC):
    def contract(self, a, b, c):
        """Do it.

        Args:
            a: one.
            b: two.
            c: three.
        """

    def silent(self): ...

class Heir(Base):
    @property
    def size(self): ...

    def contract(self, a, b, c): ...

    def silent(self): ...

    async def few(self, a, b):
        """Do it."""

    @classmethod
    def make(cls, a, b, c):
        """Make it."""

class _Hidden:
    def method(self, a, b, c): ...
'''


@dataclass
class Class:
    """What a class documents itself, and where it may inherit from."""

    bases: list[str]
    documented: set[str] = field(default_factory=set)


@dataclass
class Findings:
    """Functions by fault, each as `module: name`."""

    undocumented: list[str] = field(default_factory=list)
    without_args: list[str] = field(default_factory=list)
    stale_args: list[str] = field(default_factory=list)


def product_modules() -> dict[str, ast.Module]:
    """Parse every module by its path, generated ones included."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in paths}


def is_generated(path: str) -> bool:
    return path.startswith(GENERATED)


def classes_of(modules: Mapping[str, ast.Module]) -> dict[str, Class]:
    """Collect all classes by name; classes of one name count as one."""
    classes: dict[str, Class] = {}
    for module in modules.values():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                known = classes.setdefault(node.name, Class([]))
                known.bases += [name_of(base) for base in node.bases]
                known.documented |= {
                    function.name for function in functions_of(node) if ast.get_docstring(function)
                }
    return classes


def name_of(base: ast.expr) -> str:
    """Return the last part of a base's name, without type arguments."""
    if isinstance(base, ast.Subscript):
        return name_of(base.value)
    return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")


def functions_of(node: ast.Module | ast.ClassDef) -> Iterator[Function]:
    return (child for child in node.body if isinstance(child, Function))


def inherits_docstring(method: str, bases: list[str], classes: Mapping[str, Class]) -> bool:
    """Tell whether a base, or a base of one, documents a method."""
    return any(
        method in classes[base].documented
        or inherits_docstring(method, classes[base].bases, classes)
        for base in bases
        if base in classes
    )


def parameters_of(function: Function, in_class: bool) -> list[str]:
    """List the parameters that a caller gives."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    names = [one.arg for one in (*every, given.vararg, given.kwarg) if one]
    return names[1:] if in_class and "staticmethod" not in decorators_of(function) else names


def decorators_of(function: Function) -> set[str]:
    return {name_of(decorator) for decorator in function.decorator_list}


def described_in(docstring: str) -> list[str]:
    """List the names that an `Args:` section describes."""
    names = []
    for line in docstring.partition("Args:\n")[2].splitlines():
        indent = len(line) - len(line.lstrip())
        if line and indent < 4:
            break
        if indent == 4:
            names.append(line.strip().partition(":")[0].lstrip("*"))
    return names


def find(modules: Mapping[str, ast.Module]) -> Findings:
    """Find the faults of all public functions and methods outside generated modules."""
    findings, classes = Findings(), classes_of(modules)
    for path, module in modules.items():
        if not is_generated(path):
            look_at(module, [], path, classes, findings)
    return findings


def look_at(
    node: ast.Module | ast.ClassDef,
    bases: list[str],
    path: str,
    classes: Mapping[str, Class],
    findings: Findings,
) -> None:
    in_class = isinstance(node, ast.ClassDef)
    for function in functions_of(node):
        if function.name.startswith("_") or decorators_of(function) & {"property", "overload"}:
            continue
        place = f"{path}: {function.name}"
        docstring = ast.get_docstring(function)
        parameters = parameters_of(function, in_class)
        if docstring is None:
            if not inherits_docstring(function.name, bases, classes):
                findings.undocumented.append(place)
            continue
        described = described_in(docstring)
        if len(parameters) > MAX_PLAIN_PARAMETERS and not described:
            findings.without_args.append(place)
        findings.stale_args += [f"{place}: {n}" for n in described if n not in parameters]
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            look_at(child, [name_of(base) for base in child.bases], path, classes, findings)


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    return product_modules()


@pytest.fixture(scope="module")
def findings(modules: dict[str, ast.Module]) -> Findings:
    return find(modules)


def test_every_public_function_has_a_docstring(findings: Findings) -> None:
    assert findings.undocumented == []


def test_public_functions_of_more_than_two_parameters_have_an_args_section(
    findings: Findings,
) -> None:
    assert findings.without_args == []


def test_args_sections_name_parameters_that_exist(findings: Findings) -> None:
    assert findings.stale_args == []


def test_the_finder_finds_planted_faults_and_nothing_else() -> None:
    found = find({"a.py": ast.parse(PLANTED)})
    assert found.undocumented == ["a.py: undocumented", "a.py: silent", "a.py: silent"]
    assert found.without_args == ["a.py: undescribed", "a.py: make"]
    assert found.stale_args == ["a.py: stale: e"]


def test_modules_and_functions_stay_short(modules: dict[str, ast.Module]) -> None:
    long = []
    for path, module in modules.items():
        if is_generated(path):
            continue
        lines = len((ROOT / path).read_text("utf-8").splitlines())
        if lines > MAX_MODULE_LINES:
            long.append(f"{path}: {lines} lines")
        for node in ast.walk(module):
            if isinstance(node, Function):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{path}: {node.name}: {lines} lines")
    assert long == []
