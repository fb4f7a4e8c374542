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
    what to look for (see `Packer.query`); `kinds` names each picture's questions in order.
    """

    ids: torch.Tensor
    cells: torch.Tensor
    blocks: torch.Tensor
    targets: torch.Tensor
    positions: torch.Tensor
    queries: torch.Tensor
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
        self._atoms = dict(zip(table.names, table.vectors, strict=True))
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
        words = qa.question.rstrip("?").lower().split()
        found = [self._atoms[word] for word in words if word in self._atoms]
        return torch.stack([*found, self._atoms[f"#{min(place, PLACES - 1)}"]]).sum(0)

    def turn(self, qa: QA, follows: bool) -> Turn:
        opening = self.encode("\n<|im_start|>user\n") if follows else []
        closing = self.encode("<|im_end|>\n<|im_start|>assistant\n")
        return Turn(
            [*opening, *self.encode(qa.question), *closing],
            [*self.encode(qa.answer), self.end_id],
        )

    def pack(
        self,
        pictures: Sequence[tuple[Sequence[QA], torch.Tensor, tuple[int, int]]],
        rng: random.Random,
        second_turns: float = 0.2,
    ) -> Pack:
        """Pictures are (questions, indices of the kept cells, grid); cells keep their place."""
        rows = [self._row(*picture, rng, second_turns) for picture in pictures]
        length = max(len(row[0]) for row in rows)
        packed = []
        for part, empty in enumerate((self.end_id, PADDING, PADDING, PADDING)):
            values = [[*row[part], *[empty] * (length - len(row[part]))] for row in rows]
            packed.append(torch.tensor(values))
        places = torch.zeros(3, len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            places[:, i, : len(row[0])] = row[4]
        kinds = tuple(tuple(qa.kind for qa in picture[0]) for picture in pictures)
        queries = torch.cat([row[5] for row in rows])
        return Pack(packed[0], packed[1], packed[2], packed[3], places, queries, kinds)

    def _row(
        self,
        asked: Sequence[QA],
        kept: torch.Tensor,
        grid: tuple[int, int],
        rng: random.Random,
        second_turns: float,
    ) -> tuple[list[int], list[int], list[int], list[int], torch.Tensor, torch.Tensor]:
        prefix = self.encode("<|im_start|>user\n<|vision_start|>")
        start, after = len(prefix), len(prefix) + max(grid)
        ids = [*prefix, *[self.image_id] * len(kept), *self.encode("<|vision_end|>")]
        cells = [*[PADDING] * start, *kept.tolist(), PADDING]
        blocks, targets = [0] * len(ids), [PADDING] * len(ids)
        seen = torch.stack([torch.zeros_like(kept), kept // grid[1], kept % grid[1]]) + start
        places = [torch.arange(start).expand(3, -1), seen, torch.full((3, 1), after)]
        block, queries = 0, []
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
        return ids, cells, blocks, targets, torch.cat(places, dim=1), torch.stack(queries)
