"""Accuracy of each profile on held-out questions, through the product's own encoder and engine.

`make bench-accuracy`, or `python -m benchmarks.accuracy`. Writes `results/accuracy.json`: rows with
checkpoint, profile, task, n, accuracy, retention (accuracy over that of `off`), loyalty
(share of answers equal to those of `off`), sent_tokens and layer_averaged_tokens (shares of the
source tokens). What has been measured before and is not again stays in the file. The README and the
cards of the embedded checkpoints get their tables from it.
"""

import argparse
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.accuracy_tables import publish
from benchmarks.tasks.files import ALL_KINDS, file_questions
from luvc_core.calibrate.asking import ask
from luvc_core.config import Compression, OimSettings, SpuSettings
from luvc_core.encode import Encoder
from luvc_core.engine.engine import Engine, Result
from luvc_core.models.registry import load_language, load_vision
from luvc_core.profiles import PROFILES
from luvc_core.tokens import VisionTokens

MODELS = ["luvc-tiny-qwen2vl", "luvc-tiny-internvl", "luvc-tiny-llava-ov"]
RESULTS = Path(__file__).parent / "results" / "accuracy.json"


@dataclass(frozen=True)
class Row:
    """One profile on one kind of question. Shares in [0, 1]."""

    checkpoint: str
    profile: str
    task: str
    n: int
    accuracy: float
    retention: float
    loyalty: float
    sent_tokens: float
    layer_averaged_tokens: float


class Asker:
    """A checkpoint in this process, asked one question at a time."""

    def __init__(self, model: str) -> None:
        self.encoder = Encoder(load_vision(model))
        self.engine = Engine(load_language(model))

    def encode(self, files: Sequence[bytes], oim: OimSettings) -> list[VisionTokens]:
        """The visual tokens of what one question is about."""
        alone = len(files) == 1
        return self.encoder.encode([self.encoder.prepare(f, "file", alone) for f in files], oim)

    def ask(
        self, tokens: Sequence[VisionTokens], question: str, spu: SpuSettings | None
    ) -> tuple[str, Result]:
        """The greedy answer and its accounts."""
        answer = ask(self.engine, tokens, question, spu)
        return answer.text, answer.result


def measure(
    asker: Asker, checkpoint: str, kind: str, n: int, profiles: Mapping[str, Compression],
    split: str = "test",
) -> list[Row]:  # fmt: skip
    """Rows of all profiles on `n` held-out questions of a kind; `off` is measured in any case."""
    compressions = {"off": PROFILES["off"], **profiles}
    right: Counter[str] = Counter()
    same: Counter[str] = Counter()
    sent: defaultdict[str, float] = defaultdict(float)
    averaged: defaultdict[str, float] = defaultdict(float)
    for files, question, truth in file_questions(kind, n, split):
        # Profiles that merge alike share the tower's work.
        merges = dict.fromkeys(c.oim for c in compressions.values())
        tokens = {oim: asker.encode(files, oim) for oim in merges}
        plain = ""
        for name, compression in compressions.items():
            answer, result = asker.ask(tokens[compression.oim], question, compression.spu)
            plain = answer if name == "off" else plain
            right[name] += answer == truth
            same[name] += answer == plain
            source = result.source_visual_token_count
            sent[name] += result.merged_visual_token_count / source
            averaged[name] += result.layer_averaged_visual_token_count / source
    return [
        Row(checkpoint, name, kind, n, right[name] / n, right[name] / max(1, right["off"]),
            same[name] / n, sent[name] / n, averaged[name] / n)
        for name in compressions
    ]  # fmt: skip


def measure_kind(
    checkpoint: str, kind: str, n: int, profiles: Sequence[str], split: str
) -> list[Row]:
    """`measure` in a process of its own, on one thread: small models gain nothing from more."""
    torch.set_num_threads(1)
    chosen = {p: PROFILES[p] for p in profiles}
    return measure(Asker(checkpoint), Path(checkpoint).name, kind, n, chosen, split)


def show(checkpoint: str, rows: Sequence[Row]) -> None:
    """A table: a line for each kind, a column for each profile."""
    profiles = list(dict.fromkeys(row.profile for row in rows))
    print(f"\n{checkpoint}: accuracy % (loyalty %, visual tokens in the average layer %)")
    print(f"{'':10}" + "".join(f"{name:>22}" for name in profiles))
    for task in dict.fromkeys(row.task for row in rows):
        cells = {row.profile: row for row in rows if row.task == task}
        line = "".join(
            f"{100 * r.accuracy:8.1f} ({100 * r.loyalty:5.1f},{100 * r.layer_averaged_tokens:4.0f})"
            .rjust(22)
            for r in (cells[name] for name in profiles)
        )  # fmt: skip
        print(f"{task:10}{line}")


def keep(rows: Sequence[Row]) -> None:
    """Write rows to the results, in the place of older ones of the same name."""
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    by_name = {(row["checkpoint"], row["task"], row["profile"]): row for row in old}
    by_name |= {(row.checkpoint, row.task, row.profile): asdict(row) for row in rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(list(by_name.values()), indent=1) + "\n")


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS, help="default: %(default)s")
    parser.add_argument(
        "--n", type=int, default=500, help="questions a kind (default: %(default)s)"
    )
    parser.add_argument("--profiles", nargs="*", default=list(PROFILES), choices=list(PROFILES))
    parser.add_argument("--kinds", nargs="*", default=list(ALL_KINDS), choices=list(ALL_KINDS))
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes (default: %(default)s)"
    )
    options = parser.parse_args()
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        jobs = {
            model: [
                pool.submit(measure_kind, model, kind, options.n, options.profiles, options.split)
                for kind in options.kinds
            ]
            for model in options.models
        }
        for model, own in jobs.items():
            rows: list[Row] = []
            for job in own:
                rows += job.result()
                print(f"{model}: {rows[-1].task} done", file=sys.stderr)
                if options.split == "test":
                    keep(rows)
            show(model, rows)
    if options.split == "test":
        publish(json.loads(RESULTS.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
