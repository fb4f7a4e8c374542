"""Stage B: the language model learns from label sums in place of visual tokens; no pictures."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from pathlib import Path

import torch
from torch import nn

from ..tasks import KINDS, QA, SPLITS, Sample, make_sample
from ..tasks.words import COLORS
from .atoms import AtomTable, build_table
from .decoder import Heads, Losses
from .model import HIDDEN, SHALLOW, build_config, fresh_model
from .optim import Optimizers
from .packing import Packer, Picture
from .tokenizer import build_tokenizer

PICTURES = {"scene": 8, "chart": 4, "document": 4}
"""Of each task in one step; tasks go through apart, since their lengths differ."""

QUESTIONS, GRID = 8, (16, 16)
HARD = ("count", "relation")
"""Kinds that learn last; half of the scenes ask about them first."""

LOOKUPS = ("colour", "shape", "chart", "document")
"""Kinds answered by finding one cell; the circuit for them forms first, so they go first."""


def draw_samples(seeds: random.Random, task: str, count: int, split: str) -> list[Sample]:
    """Samples without pictures."""
    pool = SPLITS[split]
    places = [seeds.randrange(pool.start, pool.stop) for _ in range(count)]
    return [make_sample(task, place, draw=False) for place in places]


def noisy_sums(hot: torch.Tensor, table: AtomTable, level: float) -> torch.Tensor:
    """Label sums as a tower of limited skill would give them; `level` 0 is exact.

    hot: [..., cells, atoms] -> [..., cells, hidden].
    """
    kept = hot * (torch.rand_like(hot) > 0.06 * level)
    added = (torch.rand_like(hot) < 0.0006 * level).float()
    weights = (kept + added) * (1 - 0.5 * level * torch.rand_like(hot))
    sums = weights @ table.vectors
    return sums + level * 0.12 * torch.rand(*hot.shape[:-2], 1, 1) * torch.randn_like(sums)


def keep_cells(hot: torch.Tensor, names: tuple[str, ...], share: float) -> torch.Tensor:
    """Indices of the cells that tell something, and of a share of the empty ones.

    Cells that repeat what their object or bar is (coloured, without a mark) are thinned as well.
    """
    marks = [names.index("object"), names.index("value")]
    colors = slice(1, 1 + len(COLORS))
    repeats = (hot[:, colors].sum(1) > 0) & (hot[:, marks].sum(1) == 0)
    chance = torch.where(hot[:, 0] > 0, share, torch.where(repeats, max(0.25, share), 1.0))
    return (torch.rand(len(hot)) < chance).nonzero()[:, 0]


def choose(sample: Sample, rng: random.Random, kinds: tuple[str, ...] = tuple(KINDS)) -> list[QA]:
    """Up to QUESTIONS questions of these kinds; half of the time the hard ones go first."""
    some = [qa for qa in sample.questions if qa.kind in kinds]
    if rng.random() < 0.5:
        some.sort(key=lambda qa: qa.kind not in HARD)
    return some[:QUESTIONS]


def label_loss(
    model: nn.Module, heads: Heads, packer: Packer, table: AtomTable, samples: list[Sample],
    rng: random.Random, level: float, share: float, kinds: tuple[str, ...] = tuple(KINDS),
) -> Losses:  # fmt: skip
    asked = [choose(sample, rng, kinds) for sample in samples]
    samples = [sample for sample, some in zip(samples, asked, strict=True) if some]
    hot = torch.stack([table.multi_hot(sample) for sample in samples])
    pictures = [
        Picture(some, keep_cells(h, table.names, share), sample.grid, h)
        for sample, some, h in zip(samples, filter(None, asked), hot, strict=True)
    ]
    pack = packer.pack(pictures, rng)
    return Losses(model, heads, pack, noisy_sums(hot, table, level), GRID)


def train_labels(run: Path, minutes: float, threads: int) -> None:
    """Train a shallow model for `minutes` in all, going on from `run`/llm.pt if it is there."""
    torch.set_num_threads(threads)
    tokenizer = build_tokenizer()
    table = build_table(tokenizer, HIDDEN)
    packer = Packer(tokenizer, table)
    model = fresh_model(build_config(tokenizer, SHALLOW), table.embedding)
    model.requires_grad_(False).model.language_model.layers.requires_grad_(True)
    model.model.language_model.norm.requires_grad_(True)
    heads = Heads(HIDDEN)
    named = [*model.named_parameters(), *((f"aux.{n}", p) for n, p in heads.named_parameters())]
    optimizers = Optimizers(named)
    spent, step, save = 0.0, 0, run / "llm.pt"
    if save.exists():
        state = torch.load(save, weights_only=True)
        model.model.language_model.load_state_dict(state["llm"])
        heads.load_state_dict(state["heads"])
        optimizers.load_state_dict(state["optimizers"])
        spent, step = state["spent"], state["step"]
    seeds, recent = random.Random(f"labels/{step}"), []
    last_save = last_log = time.monotonic()
    while spent < 60 * minutes:
        start, progress = time.monotonic(), spent / (60 * minutes)
        early = progress < 0.25
        level = 0.0 if early else seeds.uniform(0.0, min(1.0, 2 * progress))
        share = 0.03 if early else seeds.uniform(0.03, 0.25)
        guidance = min(1.0, 2 * (1 - progress))
        kinds = LOOKUPS if early else tuple(KINDS)
        for task, count in PICTURES.items():
            samples = draw_samples(seeds, task, count, "train")
            losses = label_loss(model, heads, packer, table, samples, seeds, level, share, kinds)
            weight = count / sum(PICTURES.values())
            (weight * losses.total(guidance)).backward()
            recent.append(losses.answer.item())
        optimizers.step(progress)
        step, now = step + 1, time.monotonic()
        spent += now - start
        if now - last_log > 75:
            mean, last_log, recent = sum(recent) / len(recent), now, []
            _report(model, heads, packer, table, step, spent, mean)
        if now - last_save > 180 or spent >= 60 * minutes:
            last_save = now
            torch.save({"llm": model.model.language_model.state_dict(), "heads": heads.state_dict(),
                        "optimizers": optimizers.state_dict(), "spent": spent, "step": step},
                       save.with_suffix(".tmp"))  # fmt: skip
            save.with_suffix(".tmp").replace(save)


@torch.no_grad()
def _report(
    model: nn.Module, heads: Heads, packer: Packer, table: AtomTable, step: int, spent: float,
    loss: float,
) -> None:  # fmt: skip
    right, asked, aside = Counter[str](), Counter[str](), defaultdict[str, float](float)
    rng = random.Random(7)
    for task, count in PICTURES.items():
        samples = draw_samples(rng, task, 3 * count, "validation")
        losses = label_loss(model, heads, packer, table, samples, rng, 0.5, 0.2)
        for name in ("place", "query", "look"):
            aside[name] += getattr(losses, name).item() / len(PICTURES)
        for kind, (good, total) in losses.hits(packer.end_id).items():
            right[kind] += good
            asked[kind] += total
    scores = " ".join(f"{kind}={right[kind] / asked[kind]:.2f}" for kind in sorted(asked))
    extra = " ".join(f"{name}={value:.3f}" for name, value in aside.items())
    print(f"labels {step} {spent / 60:.1f}min loss={loss:.3f} {extra} {scores}", flush=True)
