"""The scripts of `docs/examples`, run as processes against the real services."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common.report import DOCS
from tests.support.asking import IMAGES
from tests.support.services import Stack
from tests.support.video_files import animation, moving_square

EXAMPLES = DOCS / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Write two images and a video."""
    contents = {"a.png": IMAGES[0], "b.jpg": IMAGES[1]}
    contents["clip.gif"] = animation(moving_square(4), "GIF")
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return [str(tmp_path / name) for name in contents]


def run(stack: Stack, script: str, *arguments: str) -> str:
    """Run a script that must end well, and return what it prints."""
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    command += ["--endpoint", stack.encoder.endpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


def test_an_image_is_asked_about(stack: Stack, files: list[str]) -> None:
    said = run(stack, "ask_image.py", files[0], "What is it?", "--profile", "balanced")
    assert "visual tokens in the images" in said.splitlines()[-1]


def test_text_comes_as_a_stream(stack: Stack, files: list[str]) -> None:
    assert "first text after" in run(stack, "stream_text.py", files[0], "What is it?")
    said = run(stack, "stream_text.py", files[0], "What is it?", "--characters", "1")
    assert said.endswith(" ...\n")


def test_later_turns_name_images_that_the_encoder_keeps(stack: Stack, files: list[str]) -> None:
    said = run(stack, "chat_turns.py", *files[:2], "What differs?", "Are you sure?")
    assert said.count("images known before]") == 2
    assert said.endswith("[2 of 2 images known before]\n")


def test_many_are_asked_about_at_once(stack: Stack, files: list[str]) -> None:
    said = run(stack, "ask_many.py", "What is shown?", *files)
    assert all(f"{file}: " in said for file in files)
    assert "[4 frames]" in said


def test_every_script_is_tested() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    tested = Path(__file__).read_text()
    assert scripts
    assert not [name for name in scripts if f'"{name}"' not in tested]
