"""The built wheel holds every module and file of the product, and imports without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import grpc
import pytest

pytestmark = pytest.mark.more

ROOT = Path(__file__).parents[2]
# Where packages lie in the checkout, and in the wheel.
PACKAGES = {
    ROOT / "protos" / "luvc": "luvc",
    ROOT / "luvc_core": "luvc_core",
    ROOT / "encoder_service": "encoder_service",
    ROOT / "decoder_service": "decoder_service",
}
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[2:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            found = importlib.import_module(module.name).__file__
            assert found.startswith(sys.argv[1]), f"{module.name} is imported from {found}"
            print(module.name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that a stale build folder cannot fill its gaps."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(source)],
        check=True,
    )
    (built,) = folder.glob("luvc-*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_product(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for folder, name in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(wanted) > 150
    # READMEs of folders are for people who read the source.
    missing = {name for name in wanted - inside if not name.endswith("README.md")}
    assert not missing


def test_every_module_imports_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    # Without `site`, the checkout that is installed here for development cannot be found.
    path = os.pathsep.join([str(tmp_path), str(Path(grpc.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT_ALL, str(tmp_path), *PACKAGES.values()],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 130
