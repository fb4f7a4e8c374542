"""`luvc calibrate`: the flags. The search itself runs as a process, in the model stack."""

import argparse
import subprocess
import sys

from luvc.local_stack.ending import tied_to_parent
from luvc.local_stack.model_stack import is_installed

DESCRIPTION = """\
Finds the compression that your own pictures, clips and questions bear: the fewest visual tokens in
the average layer of the language model at which a share of the greedy answers, the loyalty, stays
what it is without compression. It tries schedules, scores and merging through the engine that
serves, and gives up early what cannot reach the target.

FOLDER holds media files and questions.jsonl, a JSON object on each line:
  {"files": ["receipt.png"], "question": "What is the total?", "answer": "12.40"}
  {"files": ["before.png", "after.png"], "question": "What differs?"}
File names are relative to FOLDER. With answers, where they are known, accuracy is shown, too. Take
questions like those that will be asked: 100 tell little about 99 %, 500 tell more.
"""
EPILOG = """\
Writes a profile file, for `luvc serve --profiles FILE`, and the curve as a plot; prints a table.
Ends with 1, and writes no profile, where the target cannot be reached; with 2 where flags or
FOLDER cannot be used. Every flag can also be set as LUVC_CALIBRATE_<FLAG_NAME>.
"""
# Flag, name of its value, help. Defaults are those of luvc_core/calibrate/config.py.
FLAGS = (
    ("--model", "MODEL", "embedded name, local folder or hub id (default: luvc-tiny-qwen2vl)"),
    ("--data", "FOLDER", "media files and questions.jsonl, as above"),
    ("--target-loyalty", "SHARE", "in (0, 1] (default: 0.99)"),
    ("--output", "FILE", "profile file, written anew (default: calibrated.toml)"),
    ("--plot", "FILE", "PNG for the curve (default: beside the profile file)"),
    ("--name", "NAME", "of the profile (default: calibrated)"),
    ("--max-tokens", "N", "longest answer, in tokens (default: 32)"),
    ("--device", "DEVICE", "auto, cpu, cuda or cuda:N (default: auto)"),
    ("--dtype", "FORMAT", "auto, float32, bfloat16 or float16 (default: auto)"),
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "calibrate",
        help="find the compression that your own questions bear",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for flag, metavar, text in FLAGS:
        former = ["--picture"] if flag == "--plot" else []
        parser.add_argument(flag, *former, metavar=metavar, help=text)


def calibrate(options: argparse.Namespace) -> int:
    """Run the search, and return its exit status. The search checks the values of the flags."""
    if not is_installed("matplotlib", "tqdm"):
        return 2
    command = [sys.executable, "-m", "luvc_core.calibrate"]
    for flag, _, _ in FLAGS:
        value = getattr(options, flag.removeprefix("--").replace("-", "_"))
        if value is not None:
            command.append(f"{flag}={value}")
    try:
        return subprocess.run(tied_to_parent(command), check=False).returncode
    except KeyboardInterrupt:
        return 130
