"""Second stage: one language model for all families learns from sums of labels, without images."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..tasks import KINDS, SERIES_KINDS
from .attention_targets import names_what_it_asks_about
from .label_vectors import build_table, newline_vector
from .llm_losses import Heads, Losses
from .model import FAMILIES, HIDDEN, SHALLOW, Family, build_config, fresh_model, grow
from .optim import Optimizers
from .packing import Packer
from .sample_views import View, Viewer, any_seed
from .tokenizer import build_tokenizer

BATCHES = {"scene": 8, "chart": 4, "document": 4, "clip": 8, "pair": 8}
"""Samples of each task in a step; tasks go through apart, since their lengths differ."""

COUNTED_SCENES = 8
"""Scenes more in each step that are asked for numbers only, which takes longest to learn."""

QUESTIONS = 8
HARD = ("count", "relation")
"""Kinds that learn last; half of the samples ask about them first."""
HARD_UNNAMED = ("movement", "change", "difference")
"""Kinds whose questions that name no object learn last; half of the samples ask only those."""


def choose(view: View, rng: random.Random, kinds: tuple[str, ...] | None = None) -> View:
    """Keep up to QUESTIONS questions; half of the time the hard ones first.

    Args:
        view: the sample.
        rng: decides.
        kinds: of questions; None for all.
    """
    some = [qa for qa in view.asked if kinds is None or qa.kind in kinds]
    if rng.random() < 0.5:
        some.sort(key=lambda qa: qa.kind not in HARD)
        unnamed = [
            qa for qa in some if qa.kind in HARD_UNNAMED and not names_what_it_asks_about(qa)
        ]
        some = unnamed or some
    return view._replace(asked=tuple(some[:QUESTIONS]))


@dataclass
class Student:
    """A language model with its training-only heads, for all families alike.

    It is Qwen2-VL's text model: with equal rows of positions that is the others' Qwen2.
    """

    llm: Any
    heads: Heads
    newline: torch.Tensor
    packers: dict[str, Packer] = field(default_factory=dict)
    viewers: dict[str, Viewer] = field(default_factory=dict)

    def losses(self, family: Family, views: list[View], rng: random.Random, share: float) -> Losses:
        """Compute the losses of questions about samples of one task.

        Args:
            family: whose samples.
            views: the samples.
            rng: decides.
            share: as in Viewer.prefix.
        """
        views = [view for view in views if view.asked]
        prefixes = [self.viewers[family.name].prefix(view, share) for view in views]
        pack = self.packers[family.name].pack(views, prefixes, rng)
        return Losses(self.llm, self.heads, pack, views, self.newline)


def new_student(layers: int, families: tuple[str, ...] = tuple(FAMILIES)) -> Student:
    """Make a model of `layers` random layers, over the fixed word embeddings."""
    qwen = FAMILIES["qwen2-vl"]
    tokenizer = build_tokenizer(qwen.marks)
    table = build_table(tokenizer, HIDDEN)
    model = fresh_model(build_config(qwen, tokenizer, layers), qwen, table.embedding)
    llm = model.model.language_model.requires_grad_(False)
    llm.layers.requires_grad_(True)
    llm.norm.requires_grad_(True)
    student = Student(llm, Heads(HIDDEN), newline_vector(HIDDEN))
    for name in families:
        own = build_tokenizer(FAMILIES[name].marks)
        student.packers[name] = Packer(own, table)
        student.viewers[name] = Viewer(FAMILIES[name], table, student.packers[name].encode)
    return student


def optimizers_of(student: Student, scale: float) -> Optimizers:
    """Return the optimizers of a student."""
    aux = ((f"aux.{n}", p) for n, p in student.heads.named_parameters())
    return Optimizers([*student.llm.named_parameters(), *aux], scale)


def load_heads(heads: Heads, state: dict[str, torch.Tensor]) -> None:
    """Load heads; those that told rows and columns only learn frames as well."""
    own = heads.state_dict()
    for name, value in state.items():
        own[name][: len(value)] = value
    heads.load_state_dict(own)


def train_labels(
    run: Path, minutes: float, threads: int, layers: int = SHALLOW, scale: float = 1.0
) -> None:
    """Train a model for `minutes` in all.

    It goes on from `run`/llm.pt if that is there, grown where it has fewer layers. A step shows
    each task to one family; families take turns.

    Args:
        run: folder.
        minutes: of wall clock.
        threads: of torch.
        layers: of the model.
        scale: of all rates.
    """
    torch.set_num_threads(threads)
    student = new_student(layers)
    optimizers = optimizers_of(student, scale)
    spent, step, save = 0.0, 0, run / "llm.pt"
    if save.exists():
        state = torch.load(save, weights_only=True)
        grow(student.llm, state["llm"])
        load_heads(student.heads, state["heads"])
        if state.get("layers") == layers:
            optimizers.load_state_dict(state["optimizers"])
            spent, step = state["spent"], state["step"]
    seeds = random.Random(f"labels/{step}")
    recent: dict[str, list[float]] = defaultdict(list)
    names, last_save, last_log = list(FAMILIES), time.monotonic(), time.monotonic()
    while spent < 60 * minutes:
        start, progress = time.monotonic(), spent / (60 * minutes)
        early = progress < 0.25 and layers == SHALLOW
        level = 0.0 if early else seeds.uniform(0.0, min(1.0, 2 * progress))
        share = 0.03 if early else seeds.uniform(0.03, 0.25)
        guidance = min(1.0, 2 * (1 - progress))
        for turn, (task, count) in enumerate(BATCHES.items()):
            family = FAMILIES[names[(step + turn) % len(names)]]
            views = label_views(student, family, task, count, seeds, "train", level)
            losses = student.losses(family, views, seeds, share)
            weight = count / sum(BATCHES.values())
            (weight * losses.total(guidance)).backward()
            recent[task].append(losses.answer.item())
        family = FAMILIES[names[step % len(names)]]
        scenes = label_views(
            student, family, "scene", COUNTED_SCENES, seeds, "train", level, ("count",)
        )
        student.losses(family, scenes, seeds, share).total(guidance).mul(0.5).backward()
        optimizers.step(progress)
        step, now = step + 1, time.monotonic()
        spent += now - start
        if now - last_log > 90:
            said = " ".join(f"{task}:{sum(v) / len(v):.3f}" for task, v in recent.items())
            last_log = now
            recent.clear()
            print(f"labels {step} {spent / 60:.1f}min {said} {_report(student)}", flush=True)
        if now - last_save > 180 or spent >= 60 * minutes:
            last_save = now
            parts = {"llm": student.llm, "heads": student.heads, "optimizers": optimizers}
            counters = {"spent": spent, "step": step, "layers": layers}
            _replace(save, {k: part.state_dict() for k, part in parts.items()} | counters)


def _replace(path: Path, state: dict[str, Any]) -> None:
    """Write a state beside `path` first, so that a run that is killed leaves a whole one."""
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def label_views(
    student: Student, family: Family, task: str, count: int, rng: random.Random, split: str,
    level: float, kinds: tuple[str, ...] | None = None,
) -> list[View]:  # fmt: skip
    """Make samples of labels and choose their questions.

    Args:
        student: whose viewers.
        family: whose samples.
        task: of the samples.
        count: of samples.
        rng: decides.
        split: which seeds.
        level: of noise, as in `noisy_sums`.
        kinds: of questions; None for all.
    """
    viewer = student.viewers[family.name]
    views = (viewer.from_labels(task, any_seed(rng, split), level) for _ in range(count))
    return [choose(view, rng, kinds) for view in views]


@torch.no_grad()
def _report(student: Student) -> str:
    """Return the accuracy by family and kind on validation samples."""
    rng, lines = random.Random(7), []
    for name, family in FAMILIES.items():
        right, asked = Counter[str](), Counter[str]()
        for task, count in BATCHES.items():
            views = label_views(student, family, task, count, rng, "validation", 0.5)
            losses = student.losses(family, views, rng, 0.2)
            for kind, (good, total) in losses.hits(student.packers[name].end_id).items():
                right[kind] += good
                asked[kind] += total
        kinds = [kind for kind in (*KINDS, *SERIES_KINDS) if asked[kind]]
        lines.append(name + " " + " ".join(f"{k[:4]}={right[k] / asked[k]:.2f}" for k in kinds))
    return "\n    ".join(["", *lines])
