"""Many questions about one picture in one sequence, each blind to the others.

All questions see the prefix and the picture; positions restart after the picture for each, so
every question computes exactly what it would alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import Qwen2Tokenizer

from ..tasks import QA
from ..tasks.words import PLURALS
from .atoms import PLACES, AtomTable

PADDING = -1


class Picture(NamedTuple):
    """Questions; indices of the kept cells; rows and columns; labels [cells, atoms]."""

    asked: Sequence[QA]
    kept: torch.Tensor
    grid: tuple[int, int]
    hot: torch.Tensor


class Turn(NamedTuple):
    """Token ids of a question's turn up to the answer, and of the answer with its end mark."""

    asked: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Pack:
    """`ids`, `cells`, `blocks`, `targets`: [pictures, length]; `positions`: [3, pictures, length].

    `cells` is a visual token's cell, else PADDING; `blocks` is 0 for the shared prefix, the
    question's number from 1, PADDING behind the end; `targets` is the next token where it belongs
    to an answer, else PADDING; `queries` [targets, hidden] holds for each of those, row by row,
    what to look for and `aims` [targets, 2, cells] where it is (see `Packer.query`, `Packer.aims`);
    `counted` [targets] marks those that tell how many aims there are; `kinds` names each picture's
    questions in order.
    """

    ids: torch.Tensor
    cells: torch.Tensor
    blocks: torch.Tensor
    targets: torch.Tensor
    positions: torch.Tensor
    queries: torch.Tensor
    aims: torch.Tensor
    counted: torch.Tensor
    kinds: tuple[tuple[str, ...], ...]

    def mask(self) -> torch.Tensor:
        """True where a token may look: [pictures, 1, length, length]."""
        own, other = self.blocks[:, :, None], self.blocks[:, None, :]
        length = self.ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        return (causal & ((other == 0) | (other == own)))[:, None]


class Packer:
    """Turns questions into `Pack`s in the checkpoint's chat format."""

    def __init__(self, tokenizer: Qwen2Tokenizer, table: AtomTable) -> None:
        self._tokenizer = tokenizer
        self._vectors = table.vectors
        self._atoms = {name: index for index, name in enumerate(table.names)}
        self._atoms |= {many: self._atoms[one] for one, many in PLURALS.items()}
        self._atoms |= {"objects": self._atoms["object"], "bars": self._atoms["bar"]}
        self._ids: dict[str, list[int]] = {}
        self.image_id = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self.end_id = tokenizer.convert_tokens_to_ids("<|im_end|>")

    def encode(self, text: str) -> list[int]:
        if text not in self._ids:
            self._ids[text] = self._tokenizer(text).input_ids
        return self._ids[text]

    def query(self, qa: QA, place: int) -> torch.Tensor:
        """What to look for when predicting an answer's token: the question's atoms, its place.

        It is the sum of their vectors, as a visual token would carry them: [hidden].
        """
        place_atom = self._atoms[f"#{min(place, PLACES - 1)}"]
        return self._vectors[[*self._found(qa), place_atom]].sum(0)

    def aims(self, qa: QA, place: int, hot: torch.Tensor) -> torch.Tensor:
        """The cells that answer: those that match most of what is asked. [2, cells], bool.

        The second row differs for relations only, where it holds the second object's cells.
        hot: [cells, atoms].
        """
        found = self._found(qa)
        if found and self.is_counted(qa, place):
            # One marked cell an object or bar, so that as many cells match as there are.
            mark = self._atoms["bar" if qa.kind == "chart" else "object"]
            matches = hot[:, list({*found, mark})].all(1)
            return matches.expand(2, -1)
        if not found:
            return torch.zeros(2, len(hot), dtype=torch.bool)
        extra = [self._atoms["value"], self._atoms[f"#{min(place, PLACES - 1)}"]]
        parts = [found[:2], found[2:]] if qa.kind == "relation" else [[*found, *extra]] * 2
        matches = torch.stack([hot[:, part].sum(1) for part in parts])
        return (matches == matches.amax(1, keepdim=True)) & (matches > 0)

    @staticmethod
    def is_counted(qa: QA, place: int) -> bool:
        """The answer's token at `place` is a number of things."""
        return place == 0 and qa.question.startswith("How many")

    def _found(self, qa: QA) -> list[int]:
        words = qa.question.rstrip("?").lower().split()
        return [self._atoms[word] for word in words if word in self._atoms]

    def turn(self, qa: QA, follows: bool) -> Turn:
        opening = self.encode("\n<|im_start|>user\n") if follows else []
        closing = self.encode("<|im_end|>\n<|im_start|>assistant\n")
        return Turn(
            [*opening, *self.encode(qa.question), *closing],
            [*self.encode(qa.answer), self.end_id],
        )

    def pack(
        self,
        pictures: Sequence[Picture],
        rng: random.Random,
        second_turns: float = 0.2,
    ) -> Pack:
        """Each picture's questions become rows; kept cells stay at their place in the grid."""
        rows = [self._row(picture, rng, second_turns) for picture in pictures]
        length = max(len(row[0]) for row in rows)
        packed = []
        for part, empty in enumerate((self.end_id, PADDING, PADDING, PADDING)):
            values = [[*row[part], *[empty] * (length - len(row[part]))] for row in rows]
            packed.append(torch.tensor(values))
        places = torch.zeros(3, len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            places[:, i, : len(row[0])] = row[4]
        kinds = tuple(tuple(qa.kind for qa in picture.asked) for picture in pictures)
        queries = torch.cat([row[5] for row in rows])
        aims = torch.cat([row[6] for row in rows])
        counted = torch.tensor([flag for row in rows for flag in row[7]])
        return Pack(
            packed[0], packed[1], packed[2], packed[3], places, queries, aims, counted, kinds
        )

    def _row(
        self, picture: Picture, rng: random.Random, second_turns: float
    ) -> tuple[
        list[int], list[int], list[int], list[int],
        torch.Tensor, torch.Tensor, torch.Tensor, list[bool],
    ]:  # fmt: skip
        asked, kept, grid, hot = picture
        prefix = self.encode("<|im_start|>user\n<|vision_start|>")
        start, after = len(prefix), len(prefix) + max(grid)
        ids = [*prefix, *[self.image_id] * len(kept), *self.encode("<|vision_end|>")]
        cells = [*[PADDING] * start, *kept.tolist(), PADDING]
        blocks, targets = [0] * len(ids), [PADDING] * len(ids)
        seen = torch.stack([torch.zeros_like(kept), kept // grid[1], kept % grid[1]]) + start
        places = [torch.arange(start).expand(3, -1), seen, torch.full((3, 1), after)]
        block, queries, aims, counted = 0, [], [], []
        for number, qa in enumerate(asked):
            follows = number > 0 and blocks[-1] > 0 and rng.random() < second_turns
            if not follows:
                block, place = block + 1, after + 1
            turn = self.turn(qa, follows)
            tokens = [*turn.asked, *turn.answer]
            ids += tokens
            cells += [PADDING] * len(tokens)
            blocks += [block] * len(tokens)
            targets += [PADDING] * (len(turn.asked) - 1) + turn.answer + [PADDING]
            places.append(torch.arange(place, place + len(tokens)).expand(3, -1))
            place += len(tokens)
            queries += [self.query(qa, index) for index in range(len(turn.answer))]
            aims += [self.aims(qa, index, hot) for index in range(len(turn.answer))]
            counted += [self.is_counted(qa, index) for index in range(len(turn.answer))]
        seen_at = torch.cat(places, dim=1)
        return (
            ids, cells, blocks, targets, seen_at, torch.stack(queries), torch.stack(aims), counted
        )  # fmt: skip
