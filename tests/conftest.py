"""Fixtures that several test files share.

They are those of Qwen2-VL, or of every family where a test file is marked ALL_FAMILIES.
"""

from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from hypothesis import settings
from luvc.local_stack.ending import end_in_order

from luvc_core.compression.settings import OimSettings
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.models.registry import load_language, load_vision
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.checkpoints import noise_image, write_checkpoint
from tests.support.cpu_class import unchanged_cpu_class
from tests.support.deprecations import nothing_deprecated
from tests.support.families import KITS, Kit
from tests.support.services import stack

__all__ = ["nothing_deprecated", "stack", "unchanged_cpu_class"]

torch.set_num_threads(1)

# The same examples every time, however slow the machine.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


def pytest_sessionstart() -> None:
    # What pytest takes as the end of the run: it closes all fixtures.
    end_in_order(KeyboardInterrupt)


class Checkpoints(Protocol):
    def __call__(self, family: str) -> Path: ...


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Write a small random model of a family in the hub's layout, when first asked for."""
    root = tmp_path_factory.mktemp("checkpoints")
    return cache(lambda family: write_checkpoint(root / f"random-{family}", family))


@pytest.fixture(scope="session")
def family(request: pytest.FixtureRequest) -> Kit:
    return KITS[getattr(request, "param", "qwen2_vl")]


@pytest.fixture(scope="session")
def checkpoint(family: Kit, checkpoints: Checkpoints) -> Path:
    return checkpoints(family.name)


@pytest.fixture(scope="session")
def vision(checkpoint: Path) -> VisionHalf:
    return load_vision(str(checkpoint), "cpu", "float32")


@pytest.fixture(scope="session")
def language(checkpoint: Path) -> LanguageHalf:
    return load_language(str(checkpoint), "cpu", "float32")


@pytest.fixture(scope="session")
def stock(family: Kit, checkpoint: Path) -> Any:
    """Load the same checkpoint, whole, as transformers runs it."""
    model = family.stock.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="sdpa"
    )
    return model.eval()


@pytest.fixture(scope="session")
def images(vision: VisionHalf) -> list[VisionTokens]:
    """Encode two images of different size, not merged."""
    images = [noise_image(112, 84, 1), noise_image(60, 140, 2)]
    return vision.encode([vision.preprocess(image) for image in images], OimSettings())
