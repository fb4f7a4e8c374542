"""How requests ended, and the row that a case makes of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import grpc

from benchmarks.common import report

Ending = Literal["answered", "typed_error", "lost", "wrong", "hung"]
# Codes that say nothing a caller could act on: whoever ends a call so has lost it.
_UNTYPED = ("OK", "UNKNOWN", "INTERNAL", "DATA_LOSS")
TYPED = frozenset(code.name for code in grpc.StatusCode) - set(_UNTYPED)


def ending_of(code: str) -> Ending:
    """Return how a call with this gRPC code ended, its text aside."""
    if code == "OK":
        return "answered"
    return "typed_error" if code in TYPED else "lost"


@dataclass(frozen=True)
class Outcome:
    """One request's end, its gRPC code, and the seconds that it took.

    Attributes:
        ending: `answered` with the text given without faults, `wrong` with any other text,
            `typed_error` with a code that a caller can act on, `lost` with none or cut short,
            `hung` where only the caller's own guard ended it.
        code: name of the gRPC code.
        seconds: from the call to its end.
    """

    ending: Ending
    code: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """One case. Every request is in exactly one of the counts from answered to hung.

    Attributes:
        codes: how many requests ended in each code.
        facts: what else was measured, with units in the names.
        faults: what the case demands and did not get.
    """

    case: str
    requests: int
    answered: int
    typed_errors: int
    lost: int
    wrong: int
    hung: int
    codes: Mapping[str, int]
    facts: Mapping[str, float] = field(default_factory=dict)
    faults: Sequence[str] = ()


def row(
    case: str,
    outcomes: Sequence[Outcome],
    facts: Mapping[str, float] | None = None,
    demands: Mapping[str, bool] | None = None,
    codes: Sequence[str] | None = None,
) -> Row:
    """Count how requests ended and check what a case demands.

    Args:
        case: its name.
        outcomes: of all requests.
        facts: what else was measured, with units in the names.
        demands: what else must hold, by a text that says what is wrong where it does not.
        codes: in which requests may end besides OK; None for any typed one.

    Returns:
        The row.
    """
    ended = Counter(outcome.ending for outcome in outcomes)
    by_code = Counter(outcome.code for outcome in outcomes)
    faults = [f"{ended[bad]} {bad}" for bad in ("lost", "wrong", "hung") if ended[bad]]
    faults += [text for text, holds in (demands or {}).items() if not holds]
    if codes is not None:
        faults += [f"{by_code[c]} {c}" for c in by_code if c not in ("OK", *codes)]
    return Row(
        case, len(outcomes), ended["answered"], ended["typed_error"], ended["lost"],
        ended["wrong"], ended["hung"], dict(sorted(by_code.items())), facts or {}, faults,
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Format a line for each case, what was measured in it, and what went wrong."""
    header = ("case", "requests", "answered", "typed errors", "lost", "wrong", "hung", "codes")
    lines = [
        (r.case, r.requests, r.answered, r.typed_errors, r.lost, r.wrong, r.hung, listed(r.codes))
        for r in rows
    ]
    notes = [f"{r.case}: {listed(r.facts)}" for r in rows if r.facts]
    notes += [f"FAULT in {r.case}: {fault}" for r in rows for fault in r.faults]
    return "\n".join([report.table(header, lines), "", *notes])


def listed(numbers: Mapping[str, float]) -> str:
    """Format names with their numbers, separated by commas."""
    return ", ".join(f"{name} {number:g}" for name, number in numbers.items())
