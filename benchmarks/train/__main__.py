"""`python -m benchmarks.train STAGE`: one stage of the recipe; each goes on from the one before."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from .labels import train_labels
from .model import LLM_LAYERS, SHALLOW
from .pictures import train_pictures
from .tower import train_tower

STAGES = {
    "tower": train_tower,
    "labels": train_labels,
    "swap": partial(train_pictures, layers=SHALLOW, scale=0.7),
    "grow": partial(train_pictures, layers=LLM_LAYERS, scale=0.25),
    "finish": partial(train_pictures, layers=LLM_LAYERS, scale=0.15, sparse=0.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=tuple(STAGES))
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--minutes", type=float, default=55.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    STAGES[args.stage](args.run, args.minutes, args.threads)


if __name__ == "__main__":
    main()
