"""The first stages: a tower learns from nothing, and is then tuned on whole images."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import torch

from .tower_init import start_from_qwen2_vl, whiten_patch_embedding
from .tower_training import TowerRun

SIZES = (
    (0.0, ((224, 224),)),
    (0.40, ((224, 224), (336, 224), (448, 224), (224, 336))),
    (0.62, ((448, 448), (448, 448), (448, 224), (336, 336))),
    (0.80, ((448, 448),)),
)
"""Progress from which on images have these sizes (width, height)."""

TUNED_SIZES = 6 * ((448, 448),) + ((448, 224),)

TUNED_SHARES = {
    "document": 0.16, "codes": 0.22, "chart": 0.2, "scene": 0.36, "clip": 0.03, "pair": 0.03,
}  # fmt: skip
"""Shares of what a tower learns last: in which cell an object's middle is, and rare letters."""

TUNED_PATCH_SCALE = 3.0

CELLS_PER_STEP = {"qwen2-vl": 1024, "internvl": 1024, "llava-ov": 2048}
"""A step of the wider tower costs more beside what it learns from."""


def train_tower(run: Path, name: str, minutes: float, threads: int, scale: float = 1.0) -> None:
    """Train for `minutes` of wall clock, resuming from `run`/NAME/tower.pt where it exists.

    Where Qwen2-VL's tower has been trained before, InternVL's starts from it and, for seven tenths
    of the time, is shown where it looks: without, tables of places learn to read words very slowly.

    Args:
        run: folder of all families.
        name: of the family.
        minutes: of wall clock.
        threads: of torch.
        scale: of all rates.
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
    seeds, log = random.Random(f"tower/{step}"), _Log()
    last_save = time.monotonic()
    while spent < 60 * minutes:
        start, progress = time.monotonic(), spent / (60 * minutes)
        size = seeds.choice([sizes for at, sizes in SIZES if progress >= at][-1])
        count = max(1, CELLS_PER_STEP[name] // (size[0] * size[1] // 784))
        log.add(trainee.step(seeds, size, count, progress, max(0.0, 1 - progress / 0.7)))
        step, now = step + 1, time.monotonic()
        spent += now - start
        log.print_now_and_then(f"tower {step} {spent / 60:.1f}min", trainee, size)
        if now - last_save > 180 or spent >= 60 * minutes:
            last_save = now
            _write(save, {"tower": trainee.tower.modules.state_dict(),
                          "optimizers": trainee.optimizers.state_dict(), "spent": spent,
                          "step": step})  # fmt: skip


def tune_tower(run: Path, name: str, minutes: float, threads: int, scale: float = 0.4) -> None:
    """Go on for `minutes` from `run`/NAME/tower.pt, on large images of TUNED_SHARES.

    Args:
        run: folder of all families.
        name: of the family.
        minutes: of wall clock.
        threads: of torch.
        scale: of all rates.
    """
    torch.set_num_threads(threads)
    trainee = TowerRun(name, scale, TUNED_SHARES, TUNED_PATCH_SCALE)
    save = run / name / "tower.pt"
    trainee.tower.modules.load_state_dict(torch.load(save, weights_only=True)["tower"])
    seeds, log = random.Random(f"tune/{time.time()}"), _Log()
    begin = last_save = time.monotonic()
    step = 0
    while (spent := time.monotonic() - begin) < 60 * minutes:
        size = seeds.choice(TUNED_SIZES)
        count = max(1, CELLS_PER_STEP[name] // (size[0] * size[1] // 784))
        log.add(trainee.step(seeds, size, count, spent / (60 * minutes)))
        step += 1
        log.print_now_and_then(f"tune {step} {spent / 60:.1f}min", trainee, (448, 448))
        if time.monotonic() - last_save > 180:
            last_save = time.monotonic()
            _write(save, {"tower": trainee.tower.modules.state_dict()})
    _write(save, {"tower": trainee.tower.modules.state_dict()})


class _Log:
    """Prints the mean loss and a report about once a minute."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._last = time.monotonic()

    def add(self, loss: float) -> None:
        self._losses.append(loss)

    def print_now_and_then(self, where: str, trainee: TowerRun, size: tuple[int, int]) -> None:
        if time.monotonic() - self._last < 60:
            return
        loss = sum(self._losses) / len(self._losses)
        print(f"{where} loss={loss:.3f} {trainee.report(size)}", flush=True)
        self._losses.clear()
        self._last = time.monotonic()


def _write(path: Path, state: dict[str, Any]) -> None:
    """Write a file so that whoever reads it finds the old one or the new one, never half of one."""
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
