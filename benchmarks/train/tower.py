"""First stage: a tower learns, from dense labels, to put true words into visual tokens."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from ..tasks import SERIES, SPLITS, make_sample, make_series
from .atoms import AtomTable, build_table, place_codes
from .model import FAMILIES, HIDDEN, build_config, fresh_model
from .optim import Optimizers
from .tokenizer import build_tokenizer
from .vision import (
    TOWERS,
    WHOLE,
    Looks,
    look_gap,
    start_from_qwen2_vl,
    to_patches,
    whiten_patch_embedding,
)

TASK_SHARES = {"document": 0.29, "chart": 0.27, "scene": 0.34, "clip": 0.05, "pair": 0.05}
SIZES = (
    (0.0, ((224, 224),)),
    (0.40, ((224, 224), (336, 224), (448, 224), (224, 336))),
    (0.62, ((448, 448), (448, 448), (448, 224), (336, 336))),
    (0.80, ((448, 448),)),
)
"""From which progress on, which picture sizes (width, height)."""

CELLS_PER_STEP = {"qwen2-vl": 1024, "internvl": 1024, "llava-ov": 2048}
"""A step of the wider tower costs more beside what it learns from."""

LETTER_WEIGHT = 6.0
"""Of a letter in a code, which is so much rarer than a digit."""

OBJECT_WEIGHT = 8.0
"""Of whether a cell holds an object's middle: one wrong cell makes a count wrong."""

IMITATED_ROWS = 96
"""Patches of each picture that are shown where the elder tower's look."""


class Weights(NamedTuple):
    """Of each atom in the logistic loss, [atoms]: where it is true, and everywhere."""

    true: torch.Tensor
    always: torch.Tensor


class TowerRun:
    """One family's tower, what it is to say, and its optimizers."""

    def __init__(self, name: str, scale: float) -> None:
        family = FAMILIES[name]
        tokenizer = build_tokenizer(family.marks)
        self.table = build_table(tokenizer, HIDDEN)
        model = fresh_model(build_config(family, tokenizer, 1), family, self.table.embedding)
        self.tower: Any = TOWERS[name](model)
        self.codes = place_codes(HIDDEN) * (not family.has_rows)
        self.elder: Any = None
        names = self.table.names
        self.weights = Weights(
            torch.tensor([LETTER_WEIGHT if _is_letter(atom) else 1.0 for atom in names]),
            torch.tensor([OBJECT_WEIGHT if atom == "object" else 1.0 for atom in names]),
        )
        self.optimizers = Optimizers(self.tower.modules.named_parameters(), scale)

    def draw(
        self, seeds: random.Random, size: tuple[int, int], count: int, split: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches [pictures, patches, values] and multi-hot labels [pictures, cells, atoms]."""
        tasks = seeds.choices(list(TASK_SHARES), list(TASK_SHARES.values()), k=count)
        pool, patches, labels = SPLITS[split], [], []
        for task in tasks:
            seed = seeds.randrange(pool.start, pool.stop)
            if task not in SERIES:
                shown = [make_sample(task, seed, size)]
            else:
                # What a temporal patch holds: as many neighbouring frames.
                frames = make_series(task, seed, size).frames
                at = seeds.randrange(0, len(frames), self.tower.temporal)
                moving = self.tower.temporal if task == "clip" else 1
                shown = list(frames[at : at + moving])
            images = [one.image for one in shown if one.image is not None]
            patches.append(to_patches(images, self.tower.side).mean(0))
            labels.append(self.table.multi_hot(shown[-1]))
        return torch.stack(patches), torch.stack(labels)

    def loss(
        self,
        patches: torch.Tensor,
        hot: torch.Tensor,
        size: tuple[int, int],
        corner: tuple[int, int],
        imitation: float = 0.0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, and the tokens without what they say of their place [cells, hidden].

        imitation: weight of looking where the elder tower looks, if there is one.
        """
        grid = size[1] // 28, size[0] // 28
        codes = self.codes[corner[0] :, corner[1] :][: grid[0], : grid[1]].flatten(0, 1)
        if self.elder is None or not imitation:
            out = (self.tower.forward(patches, grid, corner) - codes).flatten(0, 1)
            return tower_loss(out, hot.flatten(0, 1), self.table.vectors, self.weights), out
        own: Looks = []
        others: Looks = []
        with torch.no_grad():
            self.elder.forward(patches, grid, corner, others)
        out = (self.tower.forward(patches, grid, corner, own) - codes).flatten(0, 1)
        rows = torch.randperm(patches.shape[1])[:IMITATED_ROWS]
        gap = imitation * look_gap(own, others, rows)
        loss = tower_loss(out, hot.flatten(0, 1), self.table.vectors, self.weights)
        return loss + gap, out

    def follow(self, weights: dict[str, torch.Tensor]) -> None:
        """Have InternVL's tower look where Qwen2-VL's with these weights looks."""
        qwen = FAMILIES["qwen2-vl"]
        config = build_config(qwen, build_tokenizer(qwen.marks), 1)
        self.elder = TOWERS["qwen2-vl"](fresh_model(config, qwen, self.table.embedding))
        self.elder.modules.load_state_dict(weights)


def _is_letter(atom: str) -> bool:
    """Whether an atom is a letter at a place in a cell."""
    return atom[1:2] == ":" and atom[2:].isalpha()


def tower_loss(
    out: torch.Tensor, hot: torch.Tensor, vectors: torch.Tensor, weights: Weights
) -> torch.Tensor:
    """Squared error to the sum of vectors, and a logistic loss on each atom's matched filter.

    out: [cells, hidden]; hot: [cells, atoms]; vectors: [atoms, hidden].
    """
    squared = F.mse_loss(out, hot @ vectors) / 0.09
    logits = 10 * (scores(out, vectors) - 0.5)
    logistic = F.binary_cross_entropy_with_logits(
        logits, hot, weights.always, pos_weight=weights.true, reduction="sum"
    ) / len(hot)
    return squared + 0.3 * logistic


def scores(out: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """How much of each atom is in each token, about 1 where true: [cells, atoms]."""
    return out @ (vectors / vectors.square().sum(1, keepdim=True)).T


def f1_by_group(out: torch.Tensor, hot: torch.Tensor, table: AtomTable) -> dict[str, float]:
    """F1 over groups of atoms at a score of one half."""
    said, true = scores(out, table.vectors) > 0.5, hot > 0.5
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(table.names):
        group = "char" if name[1:2] == ":" else "place" if name[0] == "#" else name
        known = ("char", "place", "blank", "object", "bar", "value", "largest", "smallest")
        groups.setdefault(group if group in known else "color" if i <= 8 else
                          "shape" if i <= 16 else "word", []).append(i)  # fmt: skip
    result = {}
    for group, members in groups.items():
        hits = (said[:, members] & true[:, members]).sum()
        total = said[:, members].sum() + true[:, members].sum()
        result[group] = float(2 * hits / total.clamp(min=1))
    return result


def train_tower(run: Path, name: str, minutes: float, threads: int, scale: float = 1.0) -> None:
    """Train for `minutes` of wall clock, resuming from `run`/NAME/tower.pt where it exists.

    Where Qwen2-VL's tower has been trained before, InternVL's starts from it and, for seven tenths
    of the time, is shown where it looks: without, tables of places learn to read words very slowly.
    """
    torch.set_num_threads(threads)
    trainee, save = TowerRun(name, scale), run / name / "tower.pt"
    save.parent.mkdir(parents=True, exist_ok=True)
    spent, step = 0.0, 0
    elder = run / "qwen2-vl" / "tower.pt"
    elder_weights = None
    if name == "internvl" and elder.exists():
        elder_weights = torch.load(elder, weights_only=True)["tower"]
        trainee.follow(elder_weights)
    if save.exists():
        state = torch.load(save, weights_only=True)
        trainee.tower.modules.load_state_dict(state["tower"])
        if "optimizers" in state:
            trainee.optimizers.load_state_dict(state["optimizers"])
            spent, step = state["spent"], state["step"]
    elif elder_weights is not None:
        start_from_qwen2_vl(trainee.tower, elder_weights)
    else:
        sample, _ = trainee.draw(random.Random(0), (448, 448), 48, "train")
        whiten_patch_embedding(trainee.tower.patch_weight(), sample.flatten(0, 1))
    seeds, losses = random.Random(f"tower/{step}"), []
    last_save = last_log = time.monotonic()
    while spent < 60 * minutes:
        start, progress = time.monotonic(), spent / (60 * minutes)
        size = seeds.choice([sizes for at, sizes in SIZES if progress >= at][-1])
        count = max(1, CELLS_PER_STEP[name] // (size[0] * size[1] // 784))
        patches, hot = trainee.draw(seeds, size, count, "train")
        corner = seeds.randint(0, WHOLE - size[1] // 28), seeds.randint(0, WHOLE - size[0] // 28)
        loss, _ = trainee.loss(patches, hot, size, corner, max(0.0, 1 - progress / 0.7))
        loss.backward()
        trainee.optimizers.step(progress)
        losses.append(loss.item())
        step, now = step + 1, time.monotonic()
        spent += now - start
        if now - last_log > 60:
            last_log = now
            _report(trainee, size, step, spent, sum(losses) / len(losses))
            losses = []
        if now - last_save > 180 or spent >= 60 * minutes:
            last_save = now
            torch.save({"tower": trainee.tower.modules.state_dict(),
                        "optimizers": trainee.optimizers.state_dict(), "spent": spent,
                        "step": step}, save.with_suffix(".tmp"))  # fmt: skip
            save.with_suffix(".tmp").replace(save)


@torch.no_grad()
def _report(trainee: TowerRun, size: tuple[int, int], step: int, spent: float, loss: float) -> None:
    patches, hot = trainee.draw(random.Random(1), size, 8, "validation")
    _, out = trainee.loss(patches, hot, size, (0, 0))
    f1 = f1_by_group(out, hot.flatten(0, 1), trainee.table)
    said = " ".join(f"{k}={v:.2f}" for k, v in f1.items())
    print(f"tower {step} {spent / 60:.1f}min {size} loss={loss:.3f} {said}", flush=True)
