"""README and docs name only what exists; see `checks` for what is looked at."""

from pathlib import Path

import pytest

from benchmarks.chaos import __main__ as chaos
from benchmarks.common.report import DOCS
from benchmarks.fidelity import __main__ as fidelity
from benchmarks.serving import time_breakdown_docs
from tests.docs.checks import CHECKS
from tests.docs.code_names import ROOT
from tests.docs.pages import Page, page_at

README = ROOT / "README.md"
INSIDE = [ROOT / folder / "README.md" for folder in ("benchmarks", "luvc_core")]
PAGES = [README, *INSIDE, *sorted(p for p in DOCS.rglob("*.md") if "node_modules" not in p.parts)]
SCORES = "luvc_core/compression/algorithms/frequency_scores.py"
MARKS = {
    chaos.PAGE: ("chaos",),
    fidelity.PAGE: ("accuracy", "kept", "fidelity", "ablations"),
    time_breakdown_docs.PAGE: ("where",),
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_names_exists(path: Path) -> None:
    page = page_at(path)
    assert [problem for check in CHECKS for problem in check(page)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[there](docs/nowhere.md)", "no file docs/nowhere.md"),
        ("[outside](../../etc)", "no file ../../etc"),
        ("[there](docs/api.md#nothing)", "no heading docs/api.md#nothing"),
        ("# Here\n\n[here](#here) [not here](#there)", "no heading #there"),
        ("`luvc_core/nothing.py`", "no file luvc_core/nothing.py"),
        ("    make sense", "no make sense"),
        ("`python -m benchmarks.nothing`", "no module benchmarks.nothing"),
        ("`python -m benchmarks.nothing.there`", "no module benchmarks.nothing.there"),
        ("```\npython -m encoder_service --prot 1\n```", "encoder_service has no --prot"),
        ("    luvc guess photo.png", "no luvc guess"),
        ("    luvc ask photo.png what --max-batch 1", "luvc ask has no --max-batch"),
        ("`--nothing`", "nobody has --nothing"),
        ("`LUVC_DECODER_PROUNING`", "no LUVC_DECODER_PROUNING"),
        ("`luvc_nothing_total`", "no metric luvc_nothing_total"),
        ("`TokenPlane` keeps", "no class TokenPlane"),
        (f"`Score` of [it]({SCORES})", "no Score in frequency_scores.py"),
        (f"`ScoreKind`, `top` and `low_pass` in\n[it]({SCORES})", "no top in frequency_scores.py"),
        # In the product, but elsewhere.
        (f"`SpuPruner` in [`it`]({SCORES})", "no SpuPruner in frequency_scores.py"),
        (f"| [it]({SCORES}) | `low_pass`, `energy` |", "nowhere energy"),
        (f"- Give `watch` or `Load` the number, as in\n  [it]({SCORES}).", "nowhere Load"),
        (f"1. `Metrics.look` and `LanguageHalf.embed`: [it]({SCORES})", "nowhere Metrics.look"),
        (f"| [it]({SCORES}) | `servicer.py`, `server.py`, `servant.py` |", "nowhere servant.py"),
    ],
)
def test_what_does_not_exist_is_found(text: str, problem: str) -> None:
    page = Page(README, text)
    assert problem in [found for check in CHECKS for found in check(page)]


def test_the_readme_fits_and_holds_nothing_generated() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert "<!--" not in text


def test_every_page_is_in_the_contents() -> None:
    contents = (DOCS / "README.md").read_text()
    missing = [p.name for p in DOCS.glob("*.md") if f"]({p.name})" not in contents]
    assert missing == ["README.md"]


@pytest.mark.parametrize(("page", "marks"), MARKS.items(), ids=lambda value: str(value)[-20:])
def test_benchmarks_find_their_marks(page: Path, marks: tuple[str, ...]) -> None:
    text = page.read_text()
    for mark in marks:
        assert text.count(f"<!-- {mark}:begin -->") == text.count(f"<!-- {mark}:end -->") == 1
