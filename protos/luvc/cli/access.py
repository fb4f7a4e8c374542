"""Flags for the API key and TLS of a command."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from luvc.access import Tls

API_KEY = "LUVC_API_KEY"


@dataclass(frozen=True)
class Access:
    """Arguments of `luvc.Client` beside the endpoint."""

    api_key: str
    tls: Tls | None


def add_access(parser: argparse.ArgumentParser) -> None:
    """Add the flags. Keys come from files, as every user of a machine sees its command lines."""
    parser.add_argument(
        "--api-key",
        metavar="FILE",
        help=f"file that holds the API key (default: the environment's {API_KEY})",
    )
    parser.add_argument(
        "--tls", action="store_true", help="encrypt; the system's authorities vouch for the service"
    )
    parser.add_argument(
        "--ca-file", metavar="FILE", help="PEM file of the authorities instead; turns TLS on"
    )
    parser.add_argument(
        "--cert-file", metavar="FILE", help="PEM file of certificates to show, with --key-file"
    )
    parser.add_argument("--key-file", metavar="FILE", help="PEM file of their key")


def access_of(options: argparse.Namespace) -> Access:
    """Read API key and TLS files that the flags name.

    Raises OSError for a key file that cannot be read, ValueError for flags that do not go together
    and for an API key that is empty or cannot be sent.
    """
    if bool(options.cert_file) != bool(options.key_file):
        raise ValueError("--cert-file and --key-file go together")
    key = os.environ.get(API_KEY, "")
    if options.api_key:
        key = Path(options.api_key).read_text().strip()
        if not key:
            raise ValueError(f"--api-key: {options.api_key} is empty")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("the API key is not one line of printable ASCII")
    encrypted = options.tls or options.ca_file or options.cert_file
    tls = Tls(options.ca_file, options.cert_file, options.key_file) if encrypted else None
    return Access(key, tls)
