"""Write the section on where the time goes in `docs/performance.md`, between two marks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import report

PAGE = report.DOCS / "performance.md"


def markdown(found: Mapping[str, Any]) -> str:
    """Format rates, prefill and decode step against their limits, some layers, and the stages."""
    machine, shape = found["machine"], found["shape"]
    lines = [
        f"On {machine['threads']} of {machine['cores']} cores at a load of {machine['load']}:"
        f" {found['gflop_per_s']} GFLOP/s in the largest matrix product of a layer,"
        f" {found['gb_per_s']} GB/s of memory read, {found['dtype']}. The limit of a prefill is its"
        " operations at the first rate, that of a step its weights and caches at the second."
        f" A text model of {shape['layers']} x {shape['hidden']}, {found['tokens']} visual tokens:",
        "",
        "| | prefill | of its limit | a token | of its limit | keys and values |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("off", "lossless"):
        times = found[name]
        step = times["step"]
        lines.append(
            f"| `{name}` | {times['prefill_ms'] / 1000:.2f} s |"
            f" {times['prefill_limit_ms'] / times['prefill_ms']:.0%} | {step['ms']:.0f} ms |"
            f" {step['limit_ms'] / step['ms']:.0%} | {step['kv_mib']:.1f} MiB |"
        )
    lines += [
        "",
        "Layer by layer, milliseconds (tokens that enter):",
        "",
        "| layer | `off` | `lossless` | `lossless`, of its limit |",
        "|---|---|---|---|",
    ]
    every = max(1, shape["layers"] // 7)
    both = zip(found["off"]["layers"], found["lossless"]["layers"], strict=True)
    for off, pruned in list(both)[::every]:
        lines.append(
            f"| {off['index']} | {off['ms']:.0f} ({off['tokens']}) |"
            f" {pruned['ms']:.0f} ({pruned['tokens']}) | {pruned['limit_ms'] / pruned['ms']:.0%} |"
        )
    stages = ", ".join(f"{name} {ms:.0f} ms" for name, ms in found["stages_ms"].items())
    lines += ["", f"A question to the embedded checkpoint, without services, medians: {stages}."]
    return "\n".join(lines)


def into_docs(found: Mapping[str, Any], page: Path, write: bool = True) -> None:
    """Print the section, and write it between its marks.

    Args:
        found: what was measured.
        page: of the docs.
        write: whether to change the page.

    Raises:
        ValueError: where the marks are missing.
    """
    text = markdown(found)
    print(text)
    if write:
        report.between_marks(page, "where", text)
