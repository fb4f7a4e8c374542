"""Stages C and D: a frozen tower takes the labels' place; the language model grows on top."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import Qwen2Tokenizer, Qwen2VLForConditionalGeneration

from ..tasks import KINDS, SPLITS, Sample, make_sample
from .atoms import AtomTable, build_table
from .decoder import Heads, Losses
from .export import export
from .labels import choose, keep_cells
from .model import HIDDEN, build_config, fresh_model, grow
from .optim import Optimizers
from .packing import Packer, Picture
from .tokenizer import build_tokenizer
from .vision import to_patches, tower_forward

PICTURES = {"scene": 4, "chart": 2, "document": 2}
"""Of each task in one step."""

COUNTED_SCENES = 20
"""Scenes more in each step that are asked for numbers only, which takes longest to learn."""

FIRST = {"scene": 700, "chart": 250, "document": 250}
FRESH = {"scene": 2, "chart": 1, "document": 1}
"""Pictures drawn before the first step, and in each step; all are kept and come again."""

GRID = (16, 16)


class Seen(NamedTuple):
    """A picture by what a frozen tower makes of it, [cells, hidden], and its labels."""

    sample: Sample
    features: torch.Tensor
    hot: torch.Tensor


@dataclass
class Trainee:
    """Everything of one run; weights come from the earlier stages' files."""

    run: Path
    tokenizer: Qwen2Tokenizer
    table: AtomTable
    packer: Packer
    model: Qwen2VLForConditionalGeneration
    heads: Heads

    @torch.no_grad()
    def see(self, rng: random.Random, task: str, count: int, split: str) -> list[Seen]:
        """New pictures of a task."""
        seeds = SPLITS[split]
        samples = [make_sample(task, rng.randrange(seeds.start, seeds.stop)) for _ in range(count)]
        images = [sample.image for sample in samples if sample.image is not None]
        features = tower_forward(self.model.model.visual, to_patches(images), GRID)
        return [
            Seen(replace(sample, image=None), one, self.table.multi_hot(sample))
            for sample, one in zip(samples, features, strict=True)
        ]

    def losses(
        self, seen: list[Seen], rng: random.Random, share: float = 1.0,
        kinds: tuple[str, ...] = tuple(KINDS),
    ) -> Losses:  # fmt: skip
        """Losses of questions about pictures.

        `share` below 1 leaves out most cells that tell nothing, for speed.
        """
        pictures = [
            Picture(choose(one.sample, rng, kinds), keep_cells(one.hot, self.table.names, share),
                    GRID, one.hot)
            for one in seen
        ]  # fmt: skip
        features = torch.stack([one.features for one in seen])
        return Losses(self.model, self.heads, self.packer.pack(pictures, rng), features, GRID)


def open_run(run: Path, layers: int) -> Trainee:
    """Load tower.pt, and pictures.pt or else the label stage's llm.pt, grown to `layers`."""
    tokenizer = build_tokenizer()
    table = build_table(tokenizer, HIDDEN)
    model = fresh_model(build_config(tokenizer, layers), table.embedding)
    trainee = Trainee(run, tokenizer, table, Packer(tokenizer, table), model, Heads(HIDDEN))
    tower = torch.load(run / "tower.pt", weights_only=True)["tower"]
    model.model.visual.load_state_dict(tower)
    source = run / "pictures.pt"
    source = source if source.exists() else run / "llm.pt"
    state = torch.load(source, weights_only=True)
    grow(model.model.language_model, state["llm"])
    trainee.heads.load_state_dict(state["heads"])
    return trainee


def train_pictures(
    run: Path, minutes: float, threads: int, layers: int, scale: float,
    sparse: float = 0.6,
) -> None:  # fmt: skip
    """Train for `minutes`, with rates times `scale`; saves and exports at the end.

    For a share `sparse` of the time pictures go without most of their empty cells, which is quick.
    With whole ones attention leaks to those cells, and numbers must be learned anew.
    """
    torch.set_num_threads(threads)
    trainee = open_run(run, layers)
    model = trainee.model.requires_grad_(False)
    model.model.language_model.layers.requires_grad_(True)
    model.model.language_model.norm.requires_grad_(True)
    aux = ((f"aux.{name}", p) for name, p in trainee.heads.named_parameters())
    optimizers = Optimizers([*model.named_parameters(), *aux], scale)
    seeds, recent, step = random.Random(f"pictures/{time.time()}"), [], 0
    pool: dict[str, list[Seen]] = {task: [] for task in PICTURES}
    for task, count in FIRST.items():
        for _ in range(0, count, 10):
            pool[task] += trainee.see(seeds, task, 10, "train")
    begin = last_log = last_save = time.monotonic()
    while (spent := time.monotonic() - begin) < 60 * minutes:
        progress = spent / (60 * minutes)
        whole = progress >= sparse
        share, counted = (1.0, COUNTED_SCENES // 2) if whole else (0.12, COUNTED_SCENES)
        hints = max(0.0, 1 - progress / 0.8)
        for task, count in PICTURES.items():
            pool[task] += trainee.see(seeds, task, FRESH[task], "train")
            losses = trainee.losses(seeds.sample(pool[task], count), seeds, share)
            weight = count / sum(PICTURES.values())
            (weight * losses.total(hints)).backward()
            recent.append(losses.answer.item())
        scenes = seeds.sample(pool["scene"], counted)
        trainee.losses(scenes, seeds, share, ("count",)).total(hints).backward()
        optimizers.step(progress)
        step, now = step + 1, time.monotonic()
        if now - last_log > 90:
            mean, last_log, recent = sum(recent) / len(recent), now, []
            print(
                f"pictures {step} {spent / 60:.1f}min loss={mean:.3f} {report(trainee)}", flush=True
            )
        if now - last_save > 180:
            last_save = now
            save(trainee)
    save(trainee)
    print(f"pictures {step} end {report(trainee, 6)}", flush=True)
    export(model, trainee.tokenizer, run / "export")


def save(trainee: Trainee) -> None:
    path = trainee.run / "pictures.pt"
    torch.save({"llm": trainee.model.model.language_model.state_dict(),
                "heads": trainee.heads.state_dict()}, path.with_suffix(".tmp"))  # fmt: skip
    path.with_suffix(".tmp").replace(path)


@torch.no_grad()
def report(trainee: Trainee, rounds: int = 2) -> str:
    """Teacher-forced accuracy by kind on validation pictures."""
    right, asked, rng = Counter[str](), Counter[str](), random.Random(11)
    for _ in range(rounds):
        for task, count in PICTURES.items():
            losses = trainee.losses(trainee.see(rng, task, 2 * count, "validation"), rng)
            for kind, (good, total) in losses.hits(trainee.packer.end_id).items():
                right[kind] += good
                asked[kind] += total
    return " ".join(f"{kind}={right[kind] / asked[kind]:.2f}" for kind in sorted(asked))
