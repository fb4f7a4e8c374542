"""The `luvc` command. Answers go to stdout, everything meant for people's eyes to stderr."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence

from luvc import traces
from luvc.answers import Answer
from luvc.calibrate import add_parser, calibrate
from luvc.cli_access import access_of, add_access
from luvc.client import Client
from luvc.errors import LuvcError
from luvc.model_stack import is_installed

EXAMPLES = """examples:
  luvc serve                                   both services on this machine, until Ctrl-C
  luvc models                                  what can be served
  luvc calibrate --data FOLDER                 how much compression your own questions bear
  luvc ask photo.jpg "What colour is the car?"
  luvc ask before.png after.png "What differs?" --json
  luvc ask clip.mp4 "What moves?"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="luvc",
        description="Questions about pictures and clips, answered by a vision-language model "
        "whose visual tokens are compressed on the way.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_ask(commands)
    _add_serve(commands)
    _add_models(commands)
    add_parser(commands)
    options = parser.parse_args(arguments)
    run = {"ask": ask, "serve": serve, "models": models, "calibrate": calibrate}
    return run[options.command](options)


def _add_ask(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "ask", help="ask a question about pictures and clips", description="Ask a running service."
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="pictures (JPEG, PNG, WebP) and clips (MP4, WebM, animated GIF, WebP, PNG)",
    )
    parser.add_argument("question", help="what to ask, quoted")
    parser.add_argument(
        "--endpoint",
        default="localhost:50051",
        metavar="HOST:PORT",
        help="the encoder service (default: %(default)s)",
    )
    parser.add_argument(
        "--profile",
        help="off, lossless, balanced, max, spu-paper, luvc-paper, or one of the server's own "
        "(default: the server's choice)",
    )
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest answer, in tokens")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 is greedy (default)")
    parser.add_argument("--top-p", type=float, metavar="P", help="nucleus sampling, in (0, 1]")
    parser.add_argument("--seed", type=int, metavar="N", help="makes sampling repeatable")
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end the answer before this text; may be given again",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="time for the whole answer (default: %(default)s)",
    )
    add_access(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "serve",
        help="run both services on this machine",
        description="Runs the encoder service and a local Ray with the decoder service, as two "
        "processes, until Ctrl-C. To scale them apart, run `python -m encoder_service` and "
        "`python -m decoder_service` where they belong.",
    )
    parser.add_argument(
        "--model",
        default="luvc-tiny-qwen2vl",
        help="embedded name, local folder or hub id (default: %(default)s)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=50051,
        help="of the encoder service, the front door (default: %(default)s)",
    )
    parser.add_argument(
        "--decoder-port",
        type=int,
        default=50052,
        help="of the decoder service (default: %(default)s)",
    )
    parser.add_argument(
        "--decoder-replicas",
        type=int,
        default=1,
        metavar="N",
        help="copies of the language model (default: %(default)s)",
    )
    parser.add_argument(
        "--profiles",
        default="",
        metavar="FILE",
        help="TOML file of profiles, as `luvc calibrate` writes it, that requests may name, too",
    )
    parser.add_argument(
        "--profile",
        default="",
        metavar="NAME",
        help="compression where a request names none (default: lossless)",
    )
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=180.0,
        metavar="SECONDS",
        help="give up starting after this long (default: %(default)s)",
    )


def _add_models(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "models",
        help="list what can be served",
        description="Lists the model families with what each takes, and the checkpoints that come "
        "with LUVC. OIM SIDES: what the sides of a merged grid of visual tokens have to be.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def ask(options: argparse.Namespace) -> int:
    """Ask one question; 0 when answered, 1 when the call failed, 2 when a file cannot
    be read or flags make no sense."""
    traces.set_up("luvc")
    try:
        access = access_of(options)
        with Client(options.endpoint, api_key=access.api_key, tls=access.tls) as client:
            how = {
                "profile": options.profile,
                "max_tokens": options.max_tokens,
                "temperature": options.temperature,
                "top_p": options.top_p,
                "seed": options.seed,
                "stop": options.stop,
                "timeout": options.timeout,
            }
            if options.json:
                answer = client.ask(options.question, *options.files, **how)
            else:
                stream = client.stream(options.question, *options.files, **how)
                for text in stream:
                    print(text, end="", flush=True)
                print()
                answer = stream.answer
    except OSError as error:
        print(f"luvc: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"luvc: {error}", file=sys.stderr)
        return 2
    except LuvcError as error:
        print(f"luvc: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(answer.to_dict()))
    else:
        print(_summary(answer), file=sys.stderr)
    return 0


def _summary(answer: Answer) -> str:
    usage = answer.usage
    if not usage.source_visual_token_count:
        return f"[{usage.completion_token_count} tokens]"
    shown = f"the media ({usage.frame_count} frames)" if usage.frame_count else "the picture"
    return (
        f"[visual tokens: {usage.source_visual_token_count} in {shown}, "
        f"{usage.merged_visual_token_count} sent, "
        f"{usage.layer_averaged_visual_token_count:.0f} in the average layer"
        f"{', as pruning so few would not pay' if usage.pruning_left_out else ''}; "
        f"{usage.wire_byte_count / 1024:.0f} of {usage.uncompressed_byte_count / 1024:.0f} KiB; "
        f"first text after {usage.times.time_to_first_token.ToMilliseconds()} ms]"
    )


def serve(options: argparse.Namespace) -> int:
    """Run both services in the foreground."""
    if not is_installed():
        return 2
    from luvc.launch import Stack  # noqa: PLC0415 - only `serve` starts processes

    return Stack(
        model=options.model,
        host=options.host,
        port=options.port,
        decoder_port=options.decoder_port,
        decoder_replicas=options.decoder_replicas,
        profiles=options.profiles,
        profile=options.profile,
    ).run(options.start_timeout)


def models(options: argparse.Namespace) -> int:
    """List what can be served."""
    if not is_installed():
        return 2
    # In a process of its own, as the services: this package never imports the model stack.
    command = [sys.executable, "-m", "luvc_core.models.catalogue"]
    return subprocess.run([*command, *(["--json"] if options.json else [])], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
