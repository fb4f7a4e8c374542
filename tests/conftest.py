"""Fixtures that several test files share."""

from pathlib import Path

import pytest
import torch
from transformers import Qwen2VLForConditionalGeneration

from luvc_core.config import OimSettings
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.models.registry import load_language, load_vision
from luvc_core.tokens import VisionTokens
from tests.fixtures import noise_picture, write_checkpoint
from tests.services import stack

__all__ = ["stack"]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Qwen2-VL in the hub's layout."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "random-qwen2-vl")


@pytest.fixture(scope="session")
def vision(checkpoint: Path) -> VisionHalf:
    return load_vision(str(checkpoint), "cpu", "float32")


@pytest.fixture(scope="session")
def language(checkpoint: Path) -> LanguageHalf:
    return load_language(str(checkpoint), "cpu", "float32")


@pytest.fixture(scope="session")
def stock(checkpoint: Path) -> Qwen2VLForConditionalGeneration:
    """The same checkpoint, whole, as transformers runs it."""
    model = Qwen2VLForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="sdpa"
    )
    return model.eval()


@pytest.fixture(scope="session")
def pictures(vision: VisionHalf) -> list[VisionTokens]:
    """Two, of different size, not merged."""
    images = [noise_picture(112, 84, 1), noise_picture(60, 140, 2)]
    return vision.encode([vision.preprocess(image) for image in images], OimSettings())
