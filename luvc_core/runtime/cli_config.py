"""A frozen dataclass filled from command-line flags, then the environment, then its defaults.

A field becomes the flag `--its-name` and the variable `<PREFIX>ITS_NAME`; its metadata holds the
help text. The dataclass validates itself with ValueError when made. Junk never passes silently:
unknown flags and unknown variables of the prefix end the program with status 2.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

ConfigT = TypeVar("ConfigT")


def flag(default: Any, help: str, choices: Sequence[str] = ()) -> Any:
    """A dataclass field that is a flag. Its type is that of the default."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def config_from(
    cls: type[ConfigT], program: str, prefix: str, argv: Sequence[str], environ: Mapping[str, str]
) -> ConfigT:
    """The configuration of a program. Ends it with a message and status 2 where a value is junk."""
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    parser = argparse.ArgumentParser(
        program,
        description=f"Every flag can also be set as {prefix}<FLAG_NAME> in the environment.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    for name, field in fields.items():
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=type(field.default),
            choices=field.metadata["choices"] or None,
            help=field.metadata["help"],
            default=field.default,
        )
    # Variables become flags in front of the real ones, so that both are checked alike.
    from_environ: list[str] = []
    for variable, value in sorted(environ.items()):
        if not variable.startswith(prefix):
            continue
        name = variable.removeprefix(prefix).lower()
        if name not in fields or variable != variable.upper():
            parser.error(f"unknown environment variable {variable}")
        from_environ.append(f"--{name.replace('_', '-')}={value}")
    try:
        return cls(**vars(parser.parse_args([*from_environ, *argv])))
    except ValueError as error:
        parser.error(str(error))


def check(ok: bool, name: str, value: object, allowed: str) -> None:
    """Raise ValueError naming the flag unless `ok`."""
    if not ok:
        raise ValueError(f"--{name.replace('_', '-')}: got {value}; allowed: {allowed}")


def from_mapping(cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """The configuration from its field names. Raises ValueError for an unknown name or junk."""
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - fields.keys()):
        raise ValueError(f"unknown settings: {', '.join(unknown)}")
    defaults: dict[str, Any] = {name: field.default for name, field in fields.items()}
    for name, value in values.items():
        allowed = fields[name].metadata["choices"]
        check(not allowed or value in allowed, name, repr(value), ", ".join(allowed))
    return cls(**{name: type(defaults[name])(value) for name, value in values.items()})
