"""Find and read the files in deploy/."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1]
OVERLAYS = ("cpu-dev", "gpu-prod")


class Invalid(Exception):
    """A file that cannot be what it should be. The text names it."""


class _Loader(yaml.SafeLoader):
    """YAML in which no key may stand twice in one place: the first one would be ignored."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice and not getattr(node, "merged", False):
            raise Invalid(f"line {node.start_mark.line + 1}: twice: {', '.join(twice)}")
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # Merging puts keys of the anchor in front, where those of the place itself replace them.
        node.merged = any(key.value == "<<" for key, _ in node.value)  # type: ignore[attr-defined]
        super().flatten_mapping(node)


def documents(path: Path) -> list[dict[str, Any]]:
    """Return all documents of a YAML file. Raises Invalid."""
    return parse(path.read_text(), str(path.relative_to(DEPLOY)))


def parse(text: str, name: str) -> list[dict[str, Any]]:
    """Return all documents of a text. Raises Invalid, which names `name`."""
    try:
        found = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except (yaml.YAMLError, Invalid) as error:
        raise Invalid(f"{name}: {error}") from None
    return found


def dashboards() -> dict[str, dict[str, Any]]:
    """Return Grafana's dashboards by file name."""
    folder = DEPLOY / "grafana" / "dashboards"
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a node and all below it, each with its path."""
    yield path, node
    items: Any = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    for key, value in items:
        yield from walk(value, f"{path}/{key}")
