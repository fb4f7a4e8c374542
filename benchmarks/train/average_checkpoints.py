"""Average the weights of several last stages of one run.

`python -m benchmarks.train.average_checkpoints FAMILY FILE FILE ...`. Stages that each trained on
something else average to a model that does all of it better than any one of them (Wortsman et al.
2022, "Model soups").
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .export import export
from .llm_on_images import open_run, save
from .model import FAMILIES, LLM_LAYERS

State = dict[str, Tensor]


def mean_of(states: Sequence[State]) -> State:
    """Average tensor by tensor, all states weighted alike.

    Raises:
        ValueError: where names differ.
    """
    if any(state.keys() != states[0].keys() for state in states):
        raise ValueError("states of different models")
    return {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}


def main() -> None:
    """Write the family's pictures.pt and export anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=tuple(FAMILIES))
    parser.add_argument("files", nargs="+", type=Path, help="copies of its pictures.pt")
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"))
    args = parser.parse_args()
    saved = [torch.load(path, weights_only=True) for path in args.files]
    trainee = open_run(args.run, args.family, LLM_LAYERS)
    trainee.student.llm.load_state_dict(mean_of([state["llm"] for state in saved]))
    trainee.student.heads.load_state_dict(mean_of([state["heads"] for state in saved]))
    save(trainee)
    export(trainee.family, trainee.student.llm, trainee.tower, trainee.folder / "export")


if __name__ == "__main__":
    main()
