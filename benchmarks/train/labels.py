"""Stage B: the language model learns from label sums in place of visual tokens; no pictures."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import torch
from torch import nn

from ..tasks import SPLITS, Sample, make_sample
from .atoms import AtomTable, build_table
from .decoder import Losses
from .model import HIDDEN, build_config, fresh_model
from .optim import Optimizers
from .packing import Packer
from .tokenizer import build_tokenizer

TASK_SHARES = {"scene": 0.5, "chart": 0.27, "document": 0.23}
PICTURES, QUESTIONS, GRID = 16, 8, (16, 16)


def draw_samples(seeds: random.Random, count: int, split: str) -> list[Sample]:
    """Samples without pictures."""
    tasks = seeds.choices(list(TASK_SHARES), list(TASK_SHARES.values()), k=count)
    pool = SPLITS[split]
    return [make_sample(t, seeds.randrange(pool.start, pool.stop), draw=False) for t in tasks]


def noisy_sums(hot: torch.Tensor, table: AtomTable, level: float) -> torch.Tensor:
    """Label sums as a tower of limited skill would give them; `level` 0 is exact.

    hot: [..., cells, atoms] -> [..., cells, hidden].
    """
    kept = hot * (torch.rand_like(hot) > 0.06 * level)
    added = (torch.rand_like(hot) < 0.0006 * level).float()
    weights = (kept + added) * (1 - 0.5 * level * torch.rand_like(hot))
    sums = weights @ table.vectors
    return sums + level * 0.12 * torch.rand(*hot.shape[:-2], 1, 1) * torch.randn_like(sums)


def keep_cells(hot: torch.Tensor, share: float) -> torch.Tensor:
    """Indices of the cells where something is true, and of a share of the others."""
    return ((hot[:, 0] == 0) | (torch.rand(len(hot)) < share)).nonzero()[:, 0]


def label_loss(
    model: nn.Module, head: nn.Linear, packer: Packer, table: AtomTable, samples: list[Sample],
    rng: random.Random, level: float, share: float,
) -> Losses:  # fmt: skip
    hot = torch.stack([table.multi_hot(sample) for sample in samples])
    pictures = [
        (sample.questions[:QUESTIONS], keep_cells(h, share), sample.grid)
        for sample, h in zip(samples, hot, strict=True)
    ]
    pack = packer.pack(pictures, rng)
    return Losses(model, head, pack, noisy_sums(hot, table, level), GRID)


def train_labels(run: Path, minutes: float, threads: int) -> None:
    """Train for `minutes` of wall clock, resuming from `run`/llm.pt where it exists."""
    torch.set_num_threads(threads)
    tokenizer = build_tokenizer()
    table, packer = build_table(tokenizer, HIDDEN), Packer(tokenizer)
    model = fresh_model(build_config(tokenizer), table.embedding)
    model.requires_grad_(False).model.language_model.layers.requires_grad_(True)
    model.model.language_model.norm.requires_grad_(True)
    head = nn.Linear(HIDDEN, 2)
    named = [*model.named_parameters(), *((f"aux.{n}", p) for n, p in head.named_parameters())]
    optimizers = Optimizers(named)
    spent, step, save = 0.0, 0, run / "llm.pt"
    if save.exists():
        state = torch.load(save, weights_only=True)
        model.model.language_model.load_state_dict(state["llm"])
        head.load_state_dict(state["head"])
        optimizers.load_state_dict(state["optimizers"])
        spent, step = state["spent"], state["step"]
    seeds, recent = random.Random(f"labels/{step}"), []
    last_save = last_log = time.monotonic()
    while spent < 60 * minutes:
        start, progress = time.monotonic(), spent / (60 * minutes)
        samples = draw_samples(seeds, PICTURES, "train")
        level = seeds.uniform(0.0, min(1.0, 0.2 + 2 * progress))
        share = seeds.uniform(0.05, 0.3) if progress < 0.8 else seeds.choice((0.1, 0.4, 1.0))
        losses = label_loss(model, head, packer, table, samples, seeds, level, share)
        (losses.answer + losses.place).backward()
        optimizers.step(progress)
        recent.append(losses.answer.item())
        step, now = step + 1, time.monotonic()
        spent += now - start
        if now - last_log > 75:
            mean, last_log, recent = sum(recent) / len(recent), now, []
            _report(model, head, packer, table, step, spent, mean)
        if now - last_save > 180 or spent >= 60 * minutes:
            last_save = now
            torch.save({"llm": model.model.language_model.state_dict(), "head": head.state_dict(),
                        "optimizers": optimizers.state_dict(), "spent": spent, "step": step},
                       save.with_suffix(".tmp"))  # fmt: skip
            save.with_suffix(".tmp").replace(save)


@torch.no_grad()
def _report(
    model: nn.Module, head: nn.Linear, packer: Packer, table: AtomTable, step: int, spent: float,
    loss: float,
) -> None:  # fmt: skip
    right, asked, place = Counter[str](), Counter[str](), 0.0
    rng = random.Random(7)
    for _ in range(3):
        samples = draw_samples(rng, PICTURES, "validation")
        losses = label_loss(model, head, packer, table, samples, rng, 0.5, 0.2)
        place += losses.place.item() / 3
        for kind, (good, total) in losses.hits(packer.end_id).items():
            right[kind] += good
            asked[kind] += total
    scores = " ".join(f"{kind}={right[kind] / asked[kind]:.2f}" for kind in sorted(asked))
    print(f"labels {step} {spent / 60:.1f}min loss={loss:.3f} place={place:.3f} {scores}", flush=True)
