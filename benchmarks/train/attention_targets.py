"""Where the answer to a question is to be seen: targets for the attention of two heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from ..tasks import QA
from ..tasks.words import COLORS, PLURALS, SHAPES
from .label_vectors import PLACES, AtomTable

WHICH = {"first": 0, "second": 1, "before": 0, "after": -1}


EVENTS = ("left", "right", "up", "down", "color", "shape", "new")
"""What may have become of an object since the first frame."""


class Events(NamedTuple):
    """What became of objects behind the first frame.

    Attributes:
        cells: [objects], where they are.
        origins: [objects], the cell in the first frame that shows them, or -1.
        flags: [objects, EVENTS].
    """

    cells: torch.Tensor
    origins: torch.Tensor
    flags: torch.Tensor


def events_of(hot: torch.Tensor, columns: int, names: Sequence[str]) -> Events:
    """Read events from a series' labels.

    Args:
        hot: as View.hot.
        columns: of a frame's grid.
        names: of the atoms.
    """
    marked = hot[..., names.index("object")].gt(0).nonzero().tolist()
    looks = [
        (frame, cell, _one(hot[frame, cell], names, COLORS), _one(hot[frame, cell], names, SHAPES))
        for frame, cell in marked
    ]
    first = [look for look in looks if look[0] == 0]
    cells, origins, flags = [], [], []
    for frame, cell, color, shape in looks:
        if not frame:
            continue
        same = [o for o in first if o[2:] == (color, shape)]
        akin = same or [o for o in first if (o[2] == color) != (o[3] == shape)]
        known = akin[0] if len(akin) == 1 else None
        down = right = 0
        if known:
            down = cell // columns - known[1] // columns
            right = cell % columns - known[1] % columns
        cells.append(frame * hot.shape[1] + cell)
        origins.append(known[1] if known else -1)
        flags.append(
            [right < 0, right > 0, down < 0, down > 0, bool(known and known[2] != color),
             bool(known and known[3] != shape), not akin]
        )  # fmt: skip
    return Events(
        torch.tensor(cells, dtype=torch.long),
        torch.tensor(origins, dtype=torch.long),
        torch.tensor(flags, dtype=torch.float).reshape(-1, len(EVENTS)),
    )


def _one(hot: torch.Tensor, names: Sequence[str], words: Iterable[str]) -> str:
    """Return the word of these that a cell says most of."""
    return max(words, key=lambda word: float(hot[names.index(word)]))


def names_what_it_asks_about(qa: QA) -> bool:
    """Tell whether a question says how its object looks, rather than what became of it."""
    return any(word in (*COLORS, *SHAPES) for word in qa.question.rstrip("?").split())


class Aims:
    """Reads questions with the labels of the frames at hand."""

    def __init__(self, table: AtomTable) -> None:
        self._vectors = table.vectors
        self._atoms = {name: index for index, name in enumerate(table.names)}
        self._atoms |= {many: self._atoms[one] for one, many in PLURALS.items()}
        self._atoms |= {"objects": self._atoms["object"], "bars": self._atoms["bar"]}
        self._object = self._atoms["object"]

    def query(self, qa: QA, place: int) -> torch.Tensor:
        """Return what to look for when predicting an answer's token: [hidden].

        It is the sum of the vectors of the question's atoms and of the token's place, as a visual
        token would carry them.
        """
        place_atom = self._atoms[f"#{min(place, PLACES - 1)}"]
        return self._vectors[[*self._found(qa.question), place_atom]].sum(0)

    def cells(self, qa: QA, place: int, hot: torch.Tensor) -> torch.Tensor:
        """Return the cells that answer, for either head: [2, frames * cells], bool.

        Args:
            qa: the question.
            place: of the answer's token.
            hot: [frames, cells, atoms], as View.hot.
        """
        if qa.kind in ("movement", "order", "change", "more", "difference"):
            return self._in_series(qa, hot).flatten(1)
        return self._in_image(qa, place, hot.flatten(0, 1))

    @staticmethod
    def by_event(qa: QA, events: Events, cell_count: int) -> torch.Tensor | None:
        """Return the cells that show what became of an object: [2, cell_count].

        For a question that names an object only by that; None for others. Such objects are told
        apart further up than objects by their looks.

        Args:
            qa: the question.
            events: of the series.
            cell_count: of all frames.
        """
        text, answer = qa.question.rstrip("?"), qa.answer
        event = text.split()[-1]
        if " is new " in text:
            event = "new"
        named = qa.kind not in ("movement", "change", "difference") or answer in (
            *EVENTS,
            "yes",
            "no",
        )
        if named or event not in EVENTS or text.startswith(("Is ", "Does ")):
            return None
        found = events.cells[events.flags[:, EVENTS.index(event)] > 0]
        cells = torch.zeros(2, cell_count, dtype=torch.bool)
        cells[:, found] = True
        return cells

    @staticmethod
    def is_counted(qa: QA, place: int) -> bool:
        """Tell whether the answer's token at `place` is a number of things, or compares two."""
        many = qa.question.startswith("How many") and qa.kind in ("count", "chart")
        return place == 0 and (many or " more " in qa.question or " fewer " in qa.question)

    def _in_image(self, qa: QA, place: int, hot: torch.Tensor) -> torch.Tensor:
        """Return cells that match most of what is asked; in a relation each head has one."""
        found = self._found(qa.question)
        if found and self.is_counted(qa, place):
            # One marked cell an object or bar, so that as many cells match as there are.
            mark = self._atoms["bar" if qa.kind == "chart" else "object"]
            return hot[:, list({*found, mark})].all(1).expand(2, -1)
        if not found:
            return torch.zeros(2, len(hot), dtype=torch.bool)
        extra = [self._atoms["value"], self._atoms[f"#{min(place, PLACES - 1)}"]]
        parts = [found[:2], found[2:]] if qa.kind == "relation" else [[*found, *extra]] * 2
        matches = torch.stack([hot[:, part].sum(1) for part in parts])
        return (matches == matches.amax(1, keepdim=True)) & (matches > 0)

    def _in_series(self, qa: QA, hot: torch.Tensor) -> torch.Tensor:
        """Return the cells that answer: [2, frames, cells]."""
        none = torch.zeros(2, *hot.shape[:2], dtype=torch.bool)
        text = qa.question.rstrip("?")
        if self.is_counted(qa, 0):
            return self._objects(text, hot).expand(2, -1, -1)
        if qa.kind == "order":
            sides = text.split(" before ")
            if len(sides) == 1:
                return self._edge(self._objects(qa.answer, hot), text).expand(2, -1, -1)
            return torch.stack([self._edge(self._objects(side, hot), text) for side in sides])
        if " is gone " in text:
            # What the first image shows less what the second does: each head has all of one.
            ends, marked = none.clone(), hot[..., self._object] > 0
            ends[0, 0], ends[1, -1] = marked[0], marked[-1]
            return ends
        asked = self._objects(text, hot)
        if not (self._words(text) - {self._object}) and qa.answer not in ("yes", "no"):
            asked = self._objects(qa.answer, hot) if self._words(qa.answer) else none[0]
        elif text.startswith("Which") and self._words(qa.answer):
            asked = self._objects(qa.answer, hot)
        here = [WHICH[word] for word in text.split() if word in WHICH]
        if "picture has" in text:
            return asked.expand(2, -1, -1)
        ends = none.clone()
        for head, at in enumerate((0, -1) if len(here) != 1 or "is " not in text else here * 2):
            ends[head, at] = asked[at]
        return ends

    def _edge(self, cells: torch.Tensor, text: str) -> torch.Tensor:
        """Keep, of cells in all frames, those in the first or the last frame that has any."""
        seen = cells.any(1).nonzero()[:, 0]
        kept = torch.zeros_like(cells)
        if len(seen):
            at = seen[-1 if "gone" in text or "stays" in text else 0]
            kept[at] = cells[at]
        return kept

    def _objects(self, text: str, hot: torch.Tensor) -> torch.Tensor:
        """Return marked cells of the objects that a text names: [frames, cells]."""
        return hot[..., list({*self._words(text), self._object})].gt(0).all(-1)

    def _words(self, text: str) -> set[int]:
        return set(self._found(text))

    def _found(self, text: str) -> list[int]:
        words: Sequence[str] = text.rstrip("?").lower().split()
        return [self._atoms[word] for word in words if word in self._atoms]
