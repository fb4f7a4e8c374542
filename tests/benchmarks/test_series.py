"""Clips and pairs: the same everywhere, answers in agreement with the labels of each picture."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks.tasks import (
    CELL,
    QA,
    SERIES,
    SERIES_KINDS,
    Sample,
    make_series,
    series_questions,
)
from benchmarks.tasks.actors import DIRECTIONS
from benchmarks.tasks.words import COLORS, PLURALS, SHAPES, all_words

SEEDS = range(40)
Place = tuple[int, int]
Named = tuple[str, str]


def objects(frame: Sample) -> dict[Place, Named]:
    """(row, column) of the cell of each object's centre -> its colour and shape."""
    atoms: dict[Place, set[str]] = {}
    for row, col, atom in frame.labels:
        atoms.setdefault((row, col), set()).add(atom)
    found = {}
    for place, here in atoms.items():
        if "object" in here:
            (color,), (shape,) = here & set(COLORS), here & set(SHAPES)
            found[place] = (color, shape)
    return found


def asked(kind: str) -> Iterator[tuple[list[dict[Place, Named]], QA]]:
    """Yield what is where in each image, with every question of a kind."""
    for seed in SEEDS:
        series = make_series(SERIES_KINDS[kind], seed, draw=False)
        for qa in series.questions:
            if qa.kind == kind:
                yield [objects(frame) for frame in series.frames], qa


def words(text: str) -> list[str]:
    return text.rstrip("?").split()


def wanted(text: str) -> set[str]:
    """Return the colours and shapes that a question names."""
    single = {many: one for one, many in PLURALS.items()}
    return {single.get(word, word) for word in words(text)} & {*COLORS, *SHAPES}


@pytest.mark.parametrize("task", SERIES)
def test_a_seed_gives_one_series(task: str) -> None:
    first, second, other = make_series(task, 5), make_series(task, 5), make_series(task, 6)
    assert len(first.images) == SERIES[task][0]
    assert first.questions == second.questions
    assert [f.labels for f in first.frames] == [f.labels for f in second.frames]
    digests = {
        hashlib.sha256(b"".join(image.tobytes() for image in series.images)).digest()
        for series in (first, second, other)
    }
    assert len(digests) == 2


@pytest.mark.parametrize("task", SERIES)
def test_skipping_the_drawing_changes_nothing_else(task: str) -> None:
    drawn, bare = make_series(task, 9), make_series(task, 9, draw=False)
    assert bare.images == ()
    assert drawn.questions == bare.questions
    assert [f.labels for f in drawn.frames] == [f.labels for f in bare.frames]


@pytest.mark.parametrize("task", SERIES)
@pytest.mark.parametrize("size", [224, 448, (448, 224), (224, 336), (224, 112)])
def test_labels_lie_on_the_grid_and_images_have_the_size(
    task: str, size: int | tuple[int, int]
) -> None:
    for seed in range(2):
        series = make_series(task, seed, size)
        for frame in series.frames:
            assert frame.image is not None
            assert frame.image.size == frame.size
            rows, cols = frame.grid
            assert (rows * CELL, cols * CELL) == frame.size[::-1]
            assert all(0 <= label.row < rows and 0 <= label.col < cols for label in frame.labels)


def test_what_moves_moves_that_way() -> None:
    for frames, qa in asked("movement"):
        start, end = ({name: at for at, name in frames[i].items()} for i in (0, -1))
        assert start.keys() == end.keys()
        ways = {}
        for name, (row, col) in start.items():
            gaps = {"down": end[name][0] - row, "right": end[name][1] - col}
            gaps |= {"up": -gaps["down"], "left": -gaps["right"]}
            moved = [way for way, gap in gaps.items() if gap >= 2]
            assert len(moved) <= 1
            ways[name] = moved[0] if moved else None
        names = wanted(qa.question)
        if len(names) == 2:
            assert [qa.answer] == [way for name, way in ways.items() if set(name) == names]
        else:
            (said,) = set(words(qa.question)) & set(DIRECTIONS)
            (name,) = (name for name, way in ways.items() if way == said)
            assert qa.answer in name


def test_what_comes_or_goes_does_so_in_that_order() -> None:
    for frames, qa in asked("order"):
        everything = set(frames[0].values()) | set(frames[-1].values())
        seen = {name: [name in frame.values() for frame in frames] for name in everything}
        coming = "gone" not in qa.question and "stays" not in qa.question
        # A frame at which it comes or goes; behind the last one if it stays.
        event = {n: s.index(coming) if coming in s else len(s) for n, s in seen.items()}
        assert len(set(event.values())) == len(event)
        ranked = sorted(event, key=lambda name: event[name])
        if " before " in qa.question:
            one, two = (wanted(part) for part in qa.question.split(" before "))
            order = [set(name) for name in ranked]
            assert qa.answer == ("yes" if order.index(one) < order.index(two) else "no")
            continue
        assert qa.answer in ranked[0 if coming else -1]


def test_what_changes_is_as_said() -> None:
    for frames, qa in asked("change"):
        before, after = set(frames[0].values()), set(frames[-1].values())
        (old,), (new,) = before - after, after - before
        what = "color" if old[1] == new[1] else "shape"
        own, other = (1, 0) if what == "color" else (0, 1)
        assert old[own] == new[own]
        if qa.question.startswith("Which"):
            assert qa.answer == old[own]
        elif qa.question.startswith("What"):
            assert wanted(qa.question) == {old[own]}
            assert qa.answer == (old if "before" in qa.question else new)[other]
        else:
            assert qa.answer == ("yes" if wanted(qa.question) == {old[own]} else "no")


def test_one_image_has_more_than_the_other() -> None:
    for images, qa in asked("more"):
        names = wanted(qa.question)
        one, two = (sum(names <= set(name) for name in p.values()) for p in images)
        if "both" in qa.question:
            assert qa.answer == ("yes" if one and two else "no")
        elif "fewer" in qa.question:
            assert qa.answer == ("first" if one < two else "second")
            assert one != two
        else:
            assert qa.answer == ("first" if one > two else "second")
            assert one != two
            assert "more" in qa.question or not (one and two)


def test_images_differ_as_said() -> None:
    for (first, second), qa in asked("difference"):
        before, after = set(first.values()), set(second.values())
        lost, found = before - after, after - before
        assert len(lost) <= 1
        assert len(found) <= 1
        old, new = next(iter(lost), None), next(iter(found), None)
        if old and new:
            truth = "color" if old[1] == new[1] else "shape"
        else:
            truth = "gone" if old else "new"
        if " in the first picture" in qa.question:
            assert old is not None
            assert qa.answer in old
        elif truth in ("color", "shape") and qa.question.startswith("What"):
            assert new is not None
            assert qa.answer in new
        else:
            assert qa.answer in (old or new or ())


@pytest.mark.parametrize("kind", SERIES_KINDS)
def test_questions_are_of_the_kind_and_repeatable(kind: str) -> None:
    first, again = (
        [
            ([image.tobytes() for image in images], q, a)
            for images, q, a in series_questions(kind, 2)
        ]
        for _ in range(2)
    )
    assert first == again
    assert len(first) == 2
    assert all(len(images) == SERIES[SERIES_KINDS[kind]][0] for images, _, _ in first)


@pytest.mark.parametrize("kind", SERIES_KINDS)
def test_no_answer_can_be_guessed(kind: str) -> None:
    """Of the answers that a form of question has, none takes a much greater share than chance."""
    forms: dict[str, Counter[str]] = {}
    for seed in range(250):
        for qa in make_series(SERIES_KINDS[kind], seed, draw=False).questions:
            if qa.kind == kind:
                form = " ".join("_" if wanted(word) else word for word in words(qa.question))
                forms.setdefault(form, Counter())[qa.answer] += 1
    for form, answers in forms.items():
        if answers.total() >= 100:
            assert max(answers.values()) / answers.total() < 1 / len(answers) + 0.16, (
                form,
                answers,
            )


def test_every_word_is_known() -> None:
    known = {*all_words(), *"0123456789", "a"}
    for task in SERIES:
        for seed in SEEDS:
            for qa in make_series(task, seed, draw=False).questions:
                assert {*words(qa.question), qa.answer} <= known, qa
