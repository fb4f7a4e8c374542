"""`luvc ask`: one question to a running service."""

import argparse
import json
import sys

from luvc.answers import Answer
from luvc.cli.access import access_of, add_access
from luvc.client import Client
from luvc.errors import LuvcError
from luvc.wire import traces


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
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


def ask(options: argparse.Namespace) -> int:
    """Ask one question, print the answer, and return the exit status.

    It is 0 when answered, 1 when the call failed, 2 when a file cannot be read or flags make no
    sense, 130 after Ctrl-C.
    """
    traces.set_up("luvc")
    try:
        access = access_of(options)
        with Client(options.endpoint, api_key=access.api_key, tls=access.tls) as client:
            settings = {
                "profile": options.profile,
                "max_tokens": options.max_tokens,
                "temperature": options.temperature,
                "top_p": options.top_p,
                "seed": options.seed,
                "stop": options.stop,
                "timeout": options.timeout,
            }
            if options.json:
                answer = client.ask(options.question, *options.files, **settings)
            else:
                stream = client.stream(options.question, *options.files, **settings)
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
