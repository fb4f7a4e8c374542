"""Marks that run a test for every family, or for every family that takes videos."""

import pytest

from benchmarks.common.family_kits import BEFORE_5_18, KITS, Kit

__all__ = ["ALL_FAMILIES", "BEFORE_5_18", "KITS", "VIDEO_FAMILIES", "Kit"]

ALL_FAMILIES = pytest.mark.parametrize("family", KITS, indirect=True, scope="session")
WITH_VIDEOS = [name for name, kit in KITS.items() if kit.video_preprocessing]
VIDEO_FAMILIES = pytest.mark.parametrize("family", WITH_VIDEOS, indirect=True, scope="session")
