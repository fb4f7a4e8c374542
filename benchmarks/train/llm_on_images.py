"""Last stages: the family's frozen tower replaces the labels; the language model grows on top."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..tasks import KINDS, QA, SERIES, SERIES_KINDS, make_series
from .attention_targets import names_what_it_asks_about
from .diets import EVERYTHING, FIRST, LEARNT_LAST, Diet
from .export import export
from .llm_on_labels import Student, choose, load_heads, new_student, optimizers_of
from .model import FAMILIES, Family, build_config, fresh_model, grow
from .sample_views import View, any_seed, draw
from .tokenizer import build_tokenizer
from .towers import TOWERS, to_patches

TOLD_NOISE = 0.5
"""Noise of tokens made of labels, as in `noisy_sums`."""

FILED = 224
"""Pixels on a side of the files of videos and pairs."""


@dataclass
class Trainee:
    """Everything of one family's run; weights come from the earlier stages' files."""

    family: Family
    student: Student
    tower: Any
    folder: Path

    @torch.no_grad()
    def see(self, task: str, seed: int) -> View:
        """Draw a new sample and let the tower encode its images."""
        samples, asked = draw(self.family, task, seed, paint=task != "clip" or self._single)
        if task == "clip" and not self._single:
            # A temporal patch holds two frames, as their mean.
            frames = make_series(task, seed, self.family.frame).images
            patches = to_patches(frames, self.tower.side)
            patches = patches.unflatten(0, (-1, self.tower.temporal)).mean(1)
        else:
            images = [_as_filed(s.image, task) for s in samples if s.image is not None]
            patches = to_patches(images, self.tower.side)
        tokens = self.tower.forward(patches, samples[0].grid)
        view = self.student.viewers[self.family.name].view(task, samples, asked, tokens)
        return view._replace(hot=view.hot.half(), features=view.features.half())

    def seed(self, task: str, rng: random.Random) -> int:
        """Choose a seed to learn from. A third of pairs and videos are among those learnt last."""
        if task in LEARNT_LAST and rng.random() < 1 / 3:
            return self._hard_seed(task, rng)
        return any_seed(rng, "train")

    def tell(self, task: str, count: int, rng: random.Random) -> list[View]:
        """Make samples of labels alone, with their questions that are learnt last.

        Args:
            task: pair or clip.
            count: of samples.
            rng: decides.
        """
        viewer = self.student.viewers[self.family.name]
        views = (
            viewer.from_labels(task, self._hard_seed(task, rng), TOLD_NOISE) for _ in range(count)
        )
        return [v._replace(asked=tuple(q for q in v.asked if _is_hard(task, q))) for v in views]

    def _hard_seed(self, task: str, rng: random.Random) -> int:
        while True:
            seed = any_seed(rng, "train")
            series = make_series(task, seed, self.family.frame, draw=False)
            if any(_is_hard(task, qa) for qa in series.questions):
                return seed

    @property
    def _single(self) -> bool:
        return bool(self.tower.temporal == 1)

    def losses(self, views: list[View], rng: random.Random, share: float = 1.0) -> Any:
        """Compute the losses of samples.

        Args:
            views: of one task.
            rng: decides.
            share: below 1 leaves out most cells that tell nothing, for speed.
        """
        whole = [v._replace(hot=v.hot.float(), features=v.features.float()) for v in views]
        return self.student.losses(self.family, whole, rng, share)


def open_run(run: Path, name: str, layers: int) -> Trainee:
    """Load the family's tower.pt, and its pictures.pt or else the label stage's llm.pt, grown.

    Args:
        run: folder of all families.
        name: of the family.
        layers: of the language model.
    """
    family, folder = FAMILIES[name], run / name
    student = new_student(layers, (name,))
    tokenizer = build_tokenizer(family.marks)
    table = student.viewers[name].table
    model = fresh_model(build_config(family, tokenizer, 1), family, table.embedding)
    tower = TOWERS[name](model)
    tower.modules.load_state_dict(torch.load(folder / "tower.pt", weights_only=True)["tower"])
    source = folder / "pictures.pt"
    state = torch.load(source if source.exists() else run / "llm.pt", weights_only=True)
    grow(student.llm, state["llm"])
    load_heads(student.heads, state["heads"])
    return Trainee(family, student, tower, folder)


def train_images(
    run: Path, name: str, minutes: float, threads: int, layers: int, scale: float,
    sparse: float = 0.6, diet: Diet = EVERYTHING,
) -> None:  # fmt: skip
    """Train for `minutes`, with rates times `scale`; save and export at the end.

    For a share `sparse` of the time samples go without most of their empty cells, which is quick.
    With whole ones attention leaks to those cells, and numbers must be learned anew.

    Args:
        run: folder of all families.
        name: of the family.
        minutes: of wall clock.
        threads: of torch.
        layers: of the language model.
        scale: of all rates.
        sparse: share of the time.
        diet: what a step learns from.
    """
    torch.set_num_threads(threads)
    trainee = open_run(run, name, layers)
    optimizers = optimizers_of(trainee.student, scale)
    seeds, step = random.Random(f"pictures/{time.time()}"), 0
    recent: dict[str, list[float]] = defaultdict(list)
    pool = _first_samples(trainee, diet, seeds)
    begin = last_log = last_save = time.monotonic()
    while (spent := time.monotonic() - begin) < 60 * minutes:
        progress = spent / (60 * minutes)
        whole = progress >= sparse
        share, counted = (1.0, diet.counted // 2) if whole else (0.12, diet.counted)
        hints = min(1.0, 2 * (1 - progress))
        for task, count in diet.samples.items():
            often = diet.fresh[task]
            for _ in range(int(often) + (seeds.random() < often % 1)):
                pool[task].append(trainee.see(task, trainee.seed(task, seeds)))
            views = [choose(view, seeds) for view in seeds.sample(pool[task], count)]
            shown = min(share, diet.long_share) if task in SERIES else share
            losses = trainee.losses(views, seeds, shown)
            weight = count / sum(diet.samples.values())
            (weight * losses.total(hints)).backward()
            recent[task].append(losses.answer.item())
        scenes = [choose(v, seeds, ("count",)) for v in seeds.sample(pool["scene"], counted)]
        trainee.losses(scenes, seeds, share).total(hints).backward()
        for task in LEARNT_LAST:
            told = trainee.losses(trainee.tell(task, diet.told, seeds), seeds, min(share, 0.3))
            (0.5 * told.total(hints)).backward()
            recent[f"told {task}"].append(told.answer.item())
        optimizers.step(progress)
        step, now = step + 1, time.monotonic()
        if now - last_log > 720:
            said = " ".join(f"{task}:{sum(v) / len(v):.3f}" for task, v in recent.items())
            last_log = now
            recent.clear()
            print(f"pictures {step} {spent / 60:.1f}min {said} {report(trainee)}", flush=True)
        if now - last_save > 180:
            last_save = now
            save(trainee)
    save(trainee)
    print(f"pictures {step} end {report(trainee, 6)}", flush=True)
    export(trainee.family, trainee.student.llm, trainee.tower, trainee.folder / "export")


def _first_samples(trainee: Trainee, diet: Diet, seeds: random.Random) -> dict[str, list[View]]:
    """Draw what training begins with: of each task as much as the diet asks of it."""
    pool = {
        task: [trainee.see(task, trainee.seed(task, seeds)) for _ in range(int(count * share))]
        for task, count in FIRST.items()
        if (share := min(1.0, diet.samples[task] / EVERYTHING.samples[task]))
    }
    print(f"pictures: {sum(map(len, pool.values()))} samples drawn", flush=True)
    return pool


def _is_hard(task: str, qa: QA) -> bool:
    unnamed = LEARNT_LAST[task] in qa.question and not names_what_it_asks_about(qa)
    return unnamed or qa.kind == "change"


def save(trainee: Trainee) -> None:
    """Write the language model and its heads."""
    path, student = trainee.folder / "pictures.pt", trainee.student
    torch.save({"llm": student.llm.state_dict(), "heads": student.heads.state_dict()},
               path.with_suffix(".tmp"))  # fmt: skip
    path.with_suffix(".tmp").replace(path)


def _as_filed(image: Image.Image, task: str) -> Image.Image:
    """Make frames and pairs as small as their files, which the processors of tiles enlarge."""
    if task not in SERIES or image.width == FILED:
        return image
    small = image.resize((FILED, FILED), Image.Resampling.BICUBIC)
    return small.resize(image.size, Image.Resampling.BICUBIC)


@torch.no_grad()
def report(trainee: Trainee, rounds: int = 2) -> str:
    """Return the teacher-forced accuracy by kind on validation samples."""
    right, asked, rng = Counter[str](), Counter[str](), random.Random(11)
    end = trainee.student.packers[trainee.family.name].end_id
    for _ in range(rounds):
        for task, count in EVERYTHING.samples.items():
            views = [trainee.see(task, any_seed(rng, "validation")) for _ in range(2 * count)]
            losses = trainee.losses([choose(view, rng) for view in views], rng)
            for kind, (good, total) in losses.hits(end).items():
                right[kind] += good
                asked[kind] += total
    kinds = [kind for kind in (*KINDS, *SERIES_KINDS) if asked[kind]]
    return " ".join(f"{kind[:4]}={right[kind] / asked[kind]:.2f}" for kind in kinds)
