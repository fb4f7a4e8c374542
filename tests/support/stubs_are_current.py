"""Fail unless the protos generate the committed stubs."""

import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).parents[2] / "protos"


def main() -> int:
    """Generate the stubs aside and compare; return the exit status."""
    sources = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.glob("luvc/v1/*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, *sources],
            cwd=PROTOS,
            check=True,
        )
        stale = [
            made.relative_to(folder)
            for made in sorted(Path(folder).rglob("*.py*"))
            if made.read_bytes() != (PROTOS / made.relative_to(folder)).read_bytes()
        ]
    for path in stale:
        print(f"protos/{path} is out of date: run `make protos`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
