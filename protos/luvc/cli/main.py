"""The `luvc` command. Answers go to stdout, all remarks for people to stderr."""

import argparse
from collections.abc import Callable, Sequence

from luvc.cli import ask, calibrate, models, serve

EXAMPLES = """examples:
  luvc serve                                   both services on this machine, until Ctrl-C
  luvc models                                  what can be served
  luvc calibrate --data FOLDER                 how much compression your own questions bear
  luvc ask photo.jpg "What colour is the car?"
  luvc ask before.png after.png "What differs?" --json
  luvc ask clip.mp4 "What moves?"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="luvc",
        description="Questions about pictures and clips, answered by a vision-language model "
        "whose visual tokens are compressed on the way.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (ask, serve, models, calibrate):
        command.add_parser(commands)
    options = parser.parse_args(arguments)
    run: dict[str, Callable[[argparse.Namespace], int]] = {
        "ask": ask.ask,
        "serve": serve.serve,
        "models": models.models,
        "calibrate": calibrate.calibrate,
    }
    return run[options.command](options)
