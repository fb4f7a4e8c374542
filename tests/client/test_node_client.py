"""The contract serves other languages: a Node client, made from the protos alone."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.common.report import DOCS
from tests.support.asking import IMAGES
from tests.support.services import Stack

SOURCE = DOCS / "examples" / "node"
INSTALL = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]

pytestmark = [pytest.mark.more, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def node_modules() -> None:
    """Install what package-lock.json says beside the client; node finds it nowhere else."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("no node here")
    installed = subprocess.run(INSTALL, cwd=SOURCE, capture_output=True, text=True, timeout=300)
    if installed.returncode and "npm error network" in installed.stderr:
        pytest.skip("the npm registry cannot be reached")
    assert installed.returncode == 0, installed.stderr


@pytest.mark.usefixtures("node_modules")
def test_node_gets_a_streamed_answer_about_an_image(stack: Stack, tmp_path: Path) -> None:
    image = tmp_path / "picture.png"
    image.write_bytes(IMAGES[0])
    command = ["node", "ask.js", stack.encoder.endpoint, str(image), "What is it?"]
    said = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=90)
    assert said.returncode == 0, said.stderr
    *pieces, last = map(json.loads, said.stdout.splitlines())
    assert len(pieces) > 1
    assert all(piece["text"] for piece in pieces)
    assert last["finish_reason"] in ("FINISH_REASON_STOP", "FINISH_REASON_LENGTH")
    assert last["usage"]["merged_visual_token_count"] > 0


@pytest.mark.usefixtures("node_modules")
def test_node_is_told_what_is_wrong(stack: Stack, tmp_path: Path) -> None:
    image = tmp_path / "picture.png"
    image.write_bytes(b"no picture")
    command = ["node", "ask.js", stack.encoder.endpoint, str(image), "What is it?"]
    said = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=90)
    assert said.returncode == 1
    assert said.stderr.startswith("INVALID_ARGUMENT: messages[0].parts[0]")
