"""What the last stages learn from, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Diet:
    """What a step learns from.

    Attributes:
        samples: of each task.
        fresh: how many of them are drawn anew, which then come again.
        counted: scenes more that are asked for numbers only.
        told: pairs more, and as many videos, made of labels and asked only what is learnt last.
        long_share: of the empty cells of videos and pairs, how many they are shown with when the
            others are whole.
    """

    samples: Mapping[str, int]
    fresh: Mapping[str, float]
    counted: int
    told: int = 16
    long_share: float = 1.0


EVERYTHING = Diet(
    {"scene": 4, "chart": 2, "document": 2, "clip": 3, "pair": 3},
    {"scene": 2, "chart": 1, "document": 1, "clip": 1, "pair": 1},
    counted=20,
)
READING = Diet(
    {"scene": 4, "chart": 3, "document": 4, "clip": 1, "pair": 1},
    {"scene": 2, "chart": 1, "document": 1.5, "clip": 0.2, "pair": 0.2},
    counted=20,
    long_share=0.2,
)
"""For a model that knows videos and pairs, most of a step's work, but not yet numbers and codes."""

FIRST = {"scene": 500, "chart": 200, "document": 200, "clip": 150, "pair": 200}
"""Samples drawn before the first step; a diet poor in a task needs fewer."""

LEARNT_LAST = {"pair": " is gone ", "clip": " moving "}
"""What questions say that are learnt last, besides numbers and what changes, where they name no
object."""
