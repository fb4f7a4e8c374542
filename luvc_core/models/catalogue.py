"""The list of what can be served; `luvc models` runs this module as a process."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, get_args

from luvc_core.models.checkpoint.layout import Media
from luvc_core.models.checkpoint.resolve import embedded_checkpoints, resolve
from luvc_core.models.checkpoint.weights import Weights
from luvc_core.models.registry import FAMILIES, Family, family_of

_SIDES = {1: "any", 2: "even"}


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """List all families, as they declare themselves, and the embedded checkpoints."""
    return {
        "families": [_family(family) for family in FAMILIES.values()],
        "embedded": [_checkpoint(name) for name in embedded_checkpoints()],
    }


def _family(family: Family) -> dict[str, Any]:
    layout = family.layout
    return {
        "family": layout.family,
        "title": layout.title,
        "takes": list(layout.takes),
        "merged_sides_multiple_of": layout.multiple,
        "positions": family.language.positions,
    }


def _checkpoint(name: str) -> dict[str, Any]:
    checkpoint = resolve(name)
    layout = family_of(checkpoint).layout
    files = [path for path in checkpoint.folder.iterdir() if path.is_file()]
    return {
        "name": name,
        "family": layout.family,
        "parameter_count": Weights(checkpoint, layout.renames).parameter_count(),
        "byte_count": sum(path.stat().st_size for path in files),
    }


def table(content: dict[str, list[dict[str, Any]]]) -> str:
    """Format the catalogue in columns, for people."""
    media = get_args(Media)
    families = [("FAMILY", "NAME", *(m.upper() for m in media), "OIM SIDES", "POSITIONS")]
    for f in content["families"]:
        multiple = f["merged_sides_multiple_of"]
        sides = _SIDES.get(multiple, f"multiples of {multiple}")
        takes = ("yes" if m in f["takes"] else "no" for m in media)
        families.append((f["family"], f["title"], *takes, sides, f["positions"]))
    models = [("EMBEDDED", "FAMILY", "PARAMETERS", "SIZE")]
    for c in content["embedded"]:
        size = f"{c['byte_count'] / 2**20:.1f} MiB"
        models.append((c["name"], c["family"], f"{c['parameter_count'] / 1e6:.1f} M", size))
    return f"{_columns(families)}\n\n{_columns(models)}"


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the catalogue and return the exit status."""
    parser = argparse.ArgumentParser(prog="luvc models")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    content = catalogue()
    print(json.dumps(content) if parser.parse_args(arguments).json else table(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
