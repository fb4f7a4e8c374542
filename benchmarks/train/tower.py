"""Stage A: the tower learns, from dense labels, to put true words into visual tokens."""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from ..tasks import SPLITS, make_sample
from .atoms import AtomTable, build_table
from .model import HIDDEN, build_config, fresh_model
from .optim import Optimizers
from .tokenizer import build_tokenizer
from .vision import to_patches, tower_forward, whiten_patch_embedding

TASK_SHARES = {"document": 0.3, "chart": 0.28, "scene": 0.42}
SIZES = (
    (0.0, ((224, 224),)),
    (0.40, ((224, 224), (336, 224), (448, 224), (224, 336))),
    (0.62, ((448, 448), (448, 448), (448, 224), (336, 336))),
    (0.80, ((448, 448),)),
)
"""From which progress on, which picture sizes (width, height)."""

PATCHES_PER_STEP = 4096


def tower_loss(out: torch.Tensor, hot: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Squared error to the sum of vectors, and a logistic loss on each atom's matched filter.

    out: [cells, hidden]; hot: [cells, atoms]; vectors: [atoms, hidden].
    """
    squared = F.mse_loss(out, hot @ vectors) / 0.09
    logits = 10 * (scores(out, vectors) - 0.5)
    logistic = F.binary_cross_entropy_with_logits(logits, hot, reduction="sum") / len(hot)
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


def draw_batch(
    seeds: random.Random, size: tuple[int, int], count: int, table: AtomTable, split: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches [pictures, patches, 588] and multi-hot labels [pictures * cells, atoms]."""
    tasks = seeds.choices(list(TASK_SHARES), list(TASK_SHARES.values()), k=count)
    pool = SPLITS[split]
    samples = [make_sample(task, seeds.randrange(pool.start, pool.stop), size) for task in tasks]
    images = [sample.image for sample in samples if sample.image is not None]
    return to_patches(images), torch.cat([table.multi_hot(sample) for sample in samples])


def train_tower(run: Path, minutes: float, threads: int) -> None:
    """Train for `minutes` of wall clock, resuming from `run`/tower.pt where it exists."""
    torch.set_num_threads(threads)
    tokenizer = build_tokenizer()
    table = build_table(tokenizer, HIDDEN)
    tower = fresh_model(build_config(tokenizer), table.embedding).model.visual
    optimizers = Optimizers(tower.named_parameters())
    sample, _ = draw_batch(random.Random(0), (448, 448), 48, table, "train")
    whiten_patch_embedding(tower, sample.flatten(0, 1))
    spent, step, save = 0.0, 0, run / "tower.pt"
    if save.exists():
        state = torch.load(save, weights_only=True)
        tower.load_state_dict(state["tower"])
        optimizers.load_state_dict(state["optimizers"])
        spent, step = state["spent"], state["step"]
    seeds, losses = random.Random(f"tower/{step}"), []
    last_save = last_log = time.monotonic()
    while spent < 60 * minutes:
        start, progress = time.monotonic(), spent / (60 * minutes)
        size = seeds.choice([sizes for at, sizes in SIZES if progress >= at][-1])
        count = max(1, PATCHES_PER_STEP // (size[0] * size[1] // 196))
        patches, hot = draw_batch(seeds, size, count, table, "train")
        out = tower_forward(tower, patches, (size[1] // 28, size[0] // 28))
        loss = tower_loss(out.flatten(0, 1), hot, table.vectors)
        loss.backward()
        optimizers.step(progress)
        losses.append(loss.item())
        step, now = step + 1, time.monotonic()
        spent += now - start
        if now - last_log > 60:
            last_log = now
            _report(tower, table, size, step, spent, sum(losses) / len(losses))
            losses = []
        if now - last_save > 180 or spent >= 60 * minutes:
            last_save = now
            torch.save({"tower": tower.state_dict(), "optimizers": optimizers.state_dict(),
                        "spent": spent, "step": step}, save.with_suffix(".tmp"))  # fmt: skip
            save.with_suffix(".tmp").replace(save)


@torch.no_grad()
def _report(
    tower: torch.nn.Module, table: AtomTable, size: tuple[int, int], step: int, spent: float,
    loss: float,
) -> None:  # fmt: skip
    patches, hot = draw_batch(random.Random(1), size, 8, table, "validation")
    out = tower_forward(tower, patches, (size[1] // 28, size[0] // 28)).flatten(0, 1)
    mse = F.mse_loss(out, hot @ table.vectors).item() / 0.09
    f1 = " ".join(f"{k}={v:.2f}" for k, v in f1_by_group(out, hot, table).items())
    print(f"tower {step} {spent / 60:.1f}min {size} loss={loss:.3f} mse={mse:.3f} {f1}", flush=True)
