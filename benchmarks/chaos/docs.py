"""Format the section about the cases in `docs/reliability.md`."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.chaos.outcomes import listed
from benchmarks.common import report

ENDINGS = ("answered", "typed_errors", "lost", "wrong", "hung")


def section(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format one line about all requests, and a table of every case that opens on a click."""
    total = {ending: sum(row[ending] for row in rows) for ending in ENDINGS}
    asked = sum(row["requests"] for row in rows)
    faults = [f"{row['case']}: {fault}" for row in rows for fault in row["faults"]]
    says = (
        f"{len(rows)} cases, {asked:,} requests: {total['answered']:,} answered, "
        f"{total['typed_errors']:,} ended with a typed error, {total['lost']} lost, "
        f"{total['wrong']} wrong, {total['hung']} hung. "
        + (f"Not as it must be: {'; '.join(faults)}." if faults else "All is as it must be.")
    )
    table = report.markdown_table(
        ("case", "requests", "answered", "typed errors", "codes", "measured besides"),
        [
            (
                row["case"],
                str(row["requests"]),
                str(row["answered"]),
                str(row["typed_errors"]),
                listed({k: v for k, v in row["codes"].items() if k != "OK"}),
                listed(row["facts"]),
            )
            for row in rows
        ],
    )
    says += " `decoder_free_s` is what the replicas' own records tell."
    return f"{says}\n\n<details><summary>Every case</summary>\n\n{table}\n\n</details>"
