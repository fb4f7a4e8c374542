"""Rendered tasks: the same everywhere, splits apart, labels and answers in agreement."""

from __future__ import annotations

import hashlib
from itertools import combinations

import pytest

from benchmarks.tasks import CELL, KINDS, SPLITS, TASKS, Sample, make_sample, questions
from benchmarks.tasks.words import COLORS, SHAPES, all_words

SEEDS = range(12)


def _atoms(sample: Sample) -> set[str]:
    return {label.atom for label in sample.labels}


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_gives_one_sample(task: str) -> None:
    first, second = make_sample(task, 5), make_sample(task, 5)
    assert first.image is not None
    assert second.image is not None
    assert first.image.tobytes() == second.image.tobytes()
    assert (first.questions, first.labels) == (second.questions, second.labels)
    other = make_sample(task, 6)
    assert other.image is not None
    digests = {hashlib.sha256(s.image.tobytes()).digest() for s in (first, other) if s.image}
    assert len(digests) == 2


@pytest.mark.parametrize("task", TASKS)
def test_skipping_the_drawing_changes_nothing_else(task: str) -> None:
    drawn, bare = make_sample(task, 9), make_sample(task, 9, draw=False)
    assert bare.image is None
    assert (drawn.questions, drawn.labels) == (bare.questions, bare.labels)


def test_splits_share_no_seed() -> None:
    for one, two in combinations(SPLITS.values(), 2):
        assert one.stop <= two.start or two.stop <= one.start


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [448, 224, (448, 224), (224, 336)])
def test_labels_lie_on_the_grid_and_images_have_the_size(
    task: str, size: int | tuple[int, int]
) -> None:
    sample = make_sample(task, 3, size)
    assert sample.image is not None
    assert sample.image.size == sample.size
    rows, cols = sample.grid
    assert (rows * CELL, cols * CELL) == sample.size[::-1]
    assert all(0 <= label.row < rows and 0 <= label.col < cols for label in sample.labels)


def test_a_bad_size_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 28"):
        make_sample("scene", 0, 450)


@pytest.mark.parametrize("seed", SEEDS)
def test_scene_answers_agree_with_the_labels(seed: int) -> None:
    sample = make_sample("scene", seed, draw=False)
    cells: dict[tuple[int, int], set[str]] = {}
    for row, col, atom in sample.labels:
        cells.setdefault((row, col), set()).add(atom)
    for qa in sample.questions:
        words = qa.question.rstrip("?").split()
        color = next((w for w in words if w in COLORS), None)
        shape = next((w for w in words if w in SHAPES), None)
        wanted = {w for w in (color, shape) if w}
        marked = [atoms for atoms in cells.values() if "object" in atoms and wanted <= atoms]
        if qa.kind == "presence":
            assert qa.answer == ("yes" if marked else "no"), qa
        elif qa.kind in ("colour", "shape"):
            assert marked, qa
            assert all(qa.answer in atoms for atoms in marked), qa
        elif qa.kind == "count" and wanted:
            assert len(marked) == int(qa.answer), qa


@pytest.mark.parametrize("task", ["chart", "document"])
@pytest.mark.parametrize("seed", SEEDS)
def test_printed_answers_are_labelled(task: str, seed: int) -> None:
    sample = make_sample(task, seed, draw=False)
    atoms = _atoms(sample)
    for qa in sample.questions:
        if qa.question.startswith("How many"):
            assert int(qa.answer) == sum(label.atom == "bar" for label in sample.labels)
        elif qa.answer.isalpha():
            assert qa.answer.lower() in atoms, qa
        else:
            assert {f"{i % 2}:{c}" for i, c in enumerate(qa.answer)} <= atoms, qa


@pytest.mark.parametrize("kind", KINDS)
def test_questions_are_of_the_kind_and_repeatable(kind: str) -> None:
    first = [(image.tobytes(), q, a) for image, q, a in questions(kind, 2, size=224)]
    again = [(image.tobytes(), q, a) for image, q, a in questions(kind, 2, size=224)]
    assert first == again
    assert len(first) == 2


def test_presence_is_balanced() -> None:
    answers = [
        qa.answer
        for seed in range(100)
        for qa in make_sample("scene", seed, draw=False).questions
        if qa.kind == "presence"
    ]
    assert 0.4 < answers.count("yes") / len(answers) < 0.6


def test_questions_use_known_words_only() -> None:
    known = set(all_words())
    for task in TASKS:
        for seed in range(30):
            for qa in make_sample(task, seed, draw=False).questions:
                words = qa.question.rstrip("?").split()
                assert all(word in known or word == "a" for word in words), qa
