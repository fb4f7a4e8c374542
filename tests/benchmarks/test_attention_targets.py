"""Hints for training: where a question about what became of an object is answered."""

import torch

from benchmarks.tasks import QA, SPLITS
from benchmarks.train.attention_targets import EVENTS, Aims, Events, events_of
from benchmarks.train.label_vectors import build_table
from benchmarks.train.model import FAMILIES, HIDDEN
from benchmarks.train.sample_views import draw
from benchmarks.train.tokenizer import build_tokenizer

QWEN = FAMILIES["qwen2-vl"]


def test_a_question_by_event_is_answered_where_the_event_shows() -> None:
    table = build_table(build_tokenizer(QWEN.marks), HIDDEN)
    forms = set()
    for task in ("clip", "pair"):
        for seed in range(SPLITS["train"].start, SPLITS["train"].start + 60):
            samples, asked = draw(QWEN, task, seed, paint=False)
            hot = torch.stack([table.multi_hot(sample) for sample in samples])
            events = events_of(hot, samples[0].grid[1], table.names)
            for qa in asked:
                cells = Aims.by_event(qa, events, hot[..., 0].numel())
                if cells is None:
                    continue
                assert cells.any(), qa
                shown = hot.flatten(0, 1)[cells[0]]
                said = shown[:, table.names.index(qa.answer)]
                assert said.all(), qa
                forms.add(qa.question.split()[-1])
    assert forms == {"left?", "right?", "up?", "down?", "color?", "shape?", "picture?"}


def test_a_question_that_names_its_object_is_not_by_event() -> None:
    none = Events(*(torch.zeros(0, dtype=torch.long),) * 2, torch.zeros(0, len(EVENTS)))
    for text in ("What direction is the red star moving?", "Does the circle change color?"):
        assert Aims.by_event(QA("movement", text, "left"), none, 4) is None


def test_what_is_gone_is_told_by_all_of_both_images() -> None:
    table = build_table(build_tokenizer(QWEN.marks), HIDDEN)
    hot = torch.zeros(2, 5, len(table.names))
    hot[0, [1, 3], table.names.index("object")] = 1
    hot[1, 3, table.names.index("object")] = 1
    asked = QA("difference", "What color is gone in the second picture?", "red")
    cells = Aims(table).cells(asked, 0, hot)
    assert cells.nonzero().tolist() == [[0, 1], [0, 3], [1, 8]]
