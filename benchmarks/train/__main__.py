"""Run one stage of the recipe: `python -m benchmarks.train STAGE`.

Each stage goes on from the one before: tower, tune, labels, deepen, swap, read, finish.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from .diets import READING
from .llm_on_images import train_images
from .llm_on_labels import train_labels
from .model import FAMILIES, LLM_LAYERS
from .tower_stages import train_tower, tune_tower

STAGES = {
    "tower": train_tower,
    "tune": tune_tower,
    "labels": train_labels,
    "deepen": partial(train_labels, layers=LLM_LAYERS, scale=0.4),
    "swap": partial(train_images, layers=LLM_LAYERS, scale=0.3),
    "read": partial(train_images, layers=LLM_LAYERS, scale=0.3, sparse=0.25, diet=READING),
    "finish": partial(train_images, layers=LLM_LAYERS, scale=0.15, sparse=0.0),
}
OF_ALL = ("labels", "deepen")
"""Stages that serve all families at once."""


def main() -> None:
    """Run the stage that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=tuple(STAGES))
    parser.add_argument(
        "--family", choices=tuple(FAMILIES), help="needed but for labels and deepen"
    )
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.stage not in OF_ALL and args.family is None:
        parser.error(f"{args.stage} needs --family")
    args.run.mkdir(parents=True, exist_ok=True)
    options = {} if args.stage in OF_ALL else {"name": args.family}
    STAGES[args.stage](args.run, minutes=args.minutes, threads=args.threads, **options)


if __name__ == "__main__":
    main()
