"""Write what benchmarks leave behind: a table on stdout, and a file in `results/`."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parents[1] / "results"
# Pages of which some benchmarks write a section.
DOCS = Path(__file__).parents[2] / "docs"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format lines of equal columns, the first flush left and the others right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format the same table in Markdown."""
    rule = ["---"] * len(header)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def machine() -> dict[str, object]:
    """Return what times depend on besides the code.

    `load` is the mean of the last minute, this process included; on a quiet machine it is not above
    `threads`.
    """
    return {
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
    }


def write(name: str, content: Mapping[str, object]) -> None:
    """Write `results/<name>.json` from nothing."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def between_marks(path: Path, name: str, text: str) -> None:
    """Put text between the marks `name:begin` and `name:end` of a Markdown file.

    Args:
        path: the file.
        name: of the marks.
        text: replaces what stands between them.

    Raises:
        ValueError: where the marks are missing or there are several.
    """
    begin, end = (f"<!-- {name}:{side} -->" for side in ("begin", "end"))
    content = path.read_text()
    if content.count(begin) != 1 or content.count(end) != 1:
        raise ValueError(f"{path} needs one {begin} and one {end}")
    before, rest = content.split(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def update(
    name: str,
    key: str,
    rows: Sequence[Mapping[str, Any]],
    machine: Mapping[str, object],
    ratios: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, object]] | None = None,
) -> list[Mapping[str, Any]]:
    """Replace the rows of `results/<name>.json` that have the same key, and keep the others.

    Args:
        name: of the file.
        key: the field by which rows replace each other.
        rows: the new ones.
        machine: what `machine` returns.
        ratios: computed over all rows there are then; None for none.

    Returns:
        All rows there are then.
    """
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text())["rows"] if path.is_file() else []
    new = {row[key] for row in rows}
    kept = [*(row for row in before if row[key] not in new), *rows]
    found = {"ratios": ratios(kept)} if ratios else {}
    write(name, {"machine": machine, **found, "rows": kept})
    return kept
