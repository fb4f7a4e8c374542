"""`make bench-upgrade` finds the releases that it runs, in a clone without tags as well."""

import re
from pathlib import Path

import pytest

from benchmarks.serving.upgrade import GOLDEN, newest_release, revision_of


@pytest.mark.parametrize("folder", sorted(GOLDEN.iterdir()), ids=lambda path: path.name)
def test_every_release_says_its_commit(folder: Path) -> None:
    assert re.fullmatch("[0-9a-f]{40}", revision_of(f"v{folder.name}"))


def test_releases_are_found_by_name() -> None:
    assert revision_of("v0.1.0") == "c64d3931cab410de639dd055c1e54d41dc40f99a"
    assert revision_of(newest_release()) != newest_release()


def test_tags_and_commits_are_taken_as_they_are() -> None:
    for name in ("HEAD~3", "c64d393", "v9"):
        assert revision_of(name) == name
