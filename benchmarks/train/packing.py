"""Many questions about one sample in one sequence, each blind to the others.

All questions see the prefix and the visual tokens; positions restart after those for each, so
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
from .attention_targets import Aims
from .label_vectors import AtomTable
from .sample_views import PADDING, Prefix, View


class Turn(NamedTuple):
    """Token ids of a question's turn up to the answer, and of the answer with its end mark."""

    asked: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Pack:
    """Questions about several samples.

    Attributes:
        ids: [samples, length].
        cells: [samples, length], a visual token's cell as in Prefix.
        blocks: [samples, length], 0 for the shared prefix, the question's number from 1, PADDING
            behind the end.
        targets: [samples, length], the next token where it belongs to an answer, else PADDING.
        positions: [3, samples, length].
        queries: [targets, hidden], for each target, row by row, what to look for (see Aims).
        aims: [targets, 2, frames * cells], where it is.
        counted: [targets], marks targets that tell how many aims there are.
        late: [targets], marks targets whose aims show only further up (see Aims.by_event).
        kinds: each sample's questions in order.
    """

    ids: torch.Tensor
    cells: torch.Tensor
    blocks: torch.Tensor
    targets: torch.Tensor
    positions: torch.Tensor
    queries: torch.Tensor
    aims: torch.Tensor
    counted: torch.Tensor
    late: torch.Tensor
    kinds: tuple[tuple[str, ...], ...]

    def mask(self) -> torch.Tensor:
        """Return where a token may look: [samples, 1, length, length], bool."""
        own, other = self.blocks[:, :, None], self.blocks[:, None, :]
        length = self.ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        return (causal & ((other == 0) | (other == own)))[:, None]


class Packer:
    """Turns questions into `Pack`s in the checkpoint's chat format."""

    def __init__(self, tokenizer: Qwen2Tokenizer, table: AtomTable) -> None:
        self._tokenizer = tokenizer
        self._aims = Aims(table)
        self._ids: dict[str, list[int]] = {}
        self.end_id = tokenizer.convert_tokens_to_ids("<|im_end|>")

    def encode(self, text: str) -> list[int]:
        """Tokenize a text, once."""
        if text not in self._ids:
            self._ids[text] = self._tokenizer(text).input_ids
        return self._ids[text]

    def turn(self, qa: QA, follows: bool) -> Turn:
        """Tokenize a question and its answer; `follows` says that it goes on after another turn."""
        opening = self.encode("\n<|im_start|>user\n") if follows else []
        closing = self.encode("<|im_end|>\n<|im_start|>assistant\n")
        return Turn(
            [*opening, *self.encode(qa.question), *closing],
            [*self.encode(qa.answer), self.end_id],
        )

    def pack(
        self,
        views: Sequence[View],
        prefixes: Sequence[Prefix],
        rng: random.Random,
        second_turns: float = 0.2,
    ) -> Pack:
        """Put each sample's questions into a row behind what is shown of it.

        Args:
            views: of one task and family.
            prefixes: what is shown of each.
            rng: decides.
            second_turns: share of questions that go on after another one.
        """
        rows = [_Row(prefix) for prefix in prefixes]
        for row, view in zip(rows, views, strict=True):
            for qa in view.asked:
                follows = row.block > 0 and rng.random() < second_turns
                row.ask(self.turn(qa, follows), follows)
                late = view.events and self._aims.by_event(
                    qa, view.events, view.hot[..., 0].numel()
                )
                for place in range(len(row.answer)):
                    row.queries.append(self._aims.query(qa, place))
                    aims = self._aims.cells(qa, place, view.hot) if late is None else late
                    row.aims.append(aims)
                    row.late.append(late is not None)
                    row.counted.append(self._aims.is_counted(qa, place))
        length = max(len(row.ids) for row in rows)
        padded = [
            torch.tensor([[*part, *[empty] * (length - len(part))] for part in parts])
            for parts, empty in (
                ([row.ids for row in rows], self.end_id),
                ([row.cells for row in rows], PADDING),
                ([row.blocks for row in rows], PADDING),
                ([row.targets for row in rows], PADDING),
            )
        ]
        positions = torch.zeros(3, len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            seen = torch.cat([row.prefix.positions, torch.tensor(row.places).expand(3, -1)], 1)
            positions[:, i, : seen.shape[1]] = seen
        return Pack(
            padded[0], padded[1], padded[2], padded[3], positions,
            torch.stack([q for row in rows for q in row.queries]),
            torch.stack([a for row in rows for a in row.aims]),
            torch.tensor([flag for row in rows for flag in row.counted]),
            torch.tensor([flag for row in rows for flag in row.late]),
            tuple(tuple(qa.kind for qa in view.asked) for view in views),
        )  # fmt: skip


class _Row:
    """One sample's sequence as it grows."""

    def __init__(self, prefix: Prefix) -> None:
        self.prefix = prefix
        self.ids, self.cells = [*prefix.ids], [*prefix.cells]
        self.blocks, self.targets = [0] * len(self.ids), [PADDING] * len(self.ids)
        self.places: list[int] = []
        self.block = 0
        self.answer: list[int] = []
        self.queries: list[torch.Tensor] = []
        self.aims: list[torch.Tensor] = []
        self.counted: list[bool] = []
        self.late: list[bool] = []

    def ask(self, turn: Turn, follows: bool) -> None:
        """Append a turn. One that follows the last one goes on in its block; another restarts."""
        if not follows:
            self.block += 1
        start = self.places[-1] + 1 if follows else self.prefix.end
        self.answer = turn.answer
        tokens = [*turn.asked, *turn.answer]
        self.ids += tokens
        self.cells += [PADDING] * len(tokens)
        self.blocks += [self.block] * len(tokens)
        self.targets += [PADDING] * (len(turn.asked) - 1) + turn.answer + [PADDING]
        self.places += range(start, start + len(tokens))
