"""A machine so busy that Ray gives up on its own processes."""

from pathlib import Path

import pytest

from tests.conftest import Checkpoints
from tests.support.services import free_port, service

# Stands for a raylet that is not there in time: Python imports this when it starts.
SLOW_RAY = """
import ray._private.services

def never(*arguments):
    raise Exception("The current node timed out during startup.")

if "_LUVC_STARTED_AGAIN" not in __import__("os").environ:
    ray._private.services.get_node = never
"""


@pytest.mark.slow
def test_a_decoder_starts_once_more_when_ray_was_too_slow(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_RAY)
    port = free_port()
    with service(
        "decoder", f"127.0.0.1:{port}", tmp_path / "decoder.log",
        "--model", str(checkpoints("qwen2_vl")), "--port", str(port),
        "--http-port", str(free_port()), environ={"PYTHONPATH": str(tmp_path)},
    ) as running:  # fmt: skip
        running.wait_ready()
        assert "starting once more" in running.child.output
        assert running.stop() == 0
