"""`luvc serve`: run both services on this machine."""

import argparse

from luvc.local_stack.model_stack import is_installed


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
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


def serve(options: argparse.Namespace) -> int:
    """Run both services in the foreground, and return the exit status."""
    if not is_installed():
        return 2
    from luvc.local_stack.launcher import Stack  # noqa: PLC0415 - only `serve` starts processes

    return Stack(
        model=options.model,
        host=options.host,
        port=options.port,
        decoder_port=options.decoder_port,
        decoder_replicas=options.decoder_replicas,
        profiles=options.profiles,
        profile=options.profile,
    ).run(options.start_timeout)
