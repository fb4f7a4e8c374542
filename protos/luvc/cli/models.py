"""`luvc models`: list what can be served."""

import argparse
import subprocess
import sys

from luvc.local_stack.model_stack import is_installed


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "models",
        help="list what can be served",
        description="Lists the model families with what each takes, and the checkpoints that come "
        "with LUVC. OIM SIDES: what the sides of a merged grid of visual tokens have to be.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def models(options: argparse.Namespace) -> int:
    """List what can be served, and return the exit status."""
    if not is_installed():
        return 2
    # A process of its own, like the services, because this package never imports the model stack.
    command = [sys.executable, "-m", "luvc_core.models.catalogue"]
    return subprocess.run([*command, *(["--json"] if options.json else [])], check=False).returncode
