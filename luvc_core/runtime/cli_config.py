"""Fill a frozen dataclass from command-line flags, then the environment, then its defaults.

A field becomes the flag `--its-name` and the variable `<PREFIX>ITS_NAME`; its metadata holds the
help text. The dataclass validates itself when made, with ValueError. Unknown flags and unknown
variables of the prefix end the program with status 2 instead of being ignored.
"""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

ConfigT = TypeVar("ConfigT")


def flag(
    default: Any,
    help: str,
    choices: Sequence[str] = (),
    former: str = "",
    former_values: Mapping[str, str] | None = None,
) -> Any:
    """Declare a dataclass field that is a flag.

    Args:
        default: value where nothing is given; the flag has its type.
        help: text of `--help`.
        choices: allowed values; empty for any.
        former: field name of an earlier release, which is still accepted everywhere.
        former_values: values of an earlier release, still accepted, and what they mean now.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "former": former,
        "former_values": former_values or {},
    }
    return dataclasses.field(default=default, metadata=metadata)


def config_from(
    cls: type[ConfigT], program: str, prefix: str, argv: Sequence[str], environ: Mapping[str, str]
) -> ConfigT:
    """Return the configuration of a program, or end it with status 2 where a value is invalid.

    Args:
        cls: dataclass whose fields were declared by `flag`.
        program: name of the program, for its usage message.
        prefix: what the names of its environment variables start with.
        argv: command line without the program's name; wins over the environment.
        environ: environment variables; those without the prefix are ignored.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    parser = argparse.ArgumentParser(
        program,
        description=f"Every flag can also be set as {prefix}<FLAG_NAME> in the environment.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    for name, field in fields.items():
        former = field.metadata["former"]
        parser.add_argument(
            *(_spelled(spelling) for spelling in (name, former) if spelling),
            type=_converter(field),
            choices=field.metadata["choices"] or None,
            help=field.metadata["help"],
            default=field.default,
        )
    spellings = _spellings(fields)
    # Variables become flags in front of the real ones, so that both are checked alike.
    from_environ: list[str] = []
    for variable, value in sorted(environ.items()):
        if not variable.startswith(prefix):
            continue
        name = variable.removeprefix(prefix).lower()
        if name not in spellings or variable != variable.upper():
            parser.error(f"unknown environment variable {variable}")
        from_environ.append(f"{_spelled(name)}={value}")
    try:
        return cls(**vars(parser.parse_args([*from_environ, *argv])))
    except ValueError as error:
        parser.error(str(error))


def check(ok: bool, name: str, value: object, allowed: str) -> None:
    """Raise ValueError naming the flag unless `ok`.

    Args:
        ok: whether the value is allowed.
        name: the flag's field name.
        value: what was given.
        allowed: in words, what is allowed.
    """
    if not ok:
        raise ValueError(f"{_spelled(name)}: got {value}; allowed: {allowed}")


def from_mapping(cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Return the configuration that a mapping holds by field names.

    Raises:
        ValueError: for an unknown name or a value that is not allowed.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    spellings = _spellings(fields)
    if unknown := sorted(values.keys() - spellings.keys()):
        raise ValueError(f"unknown settings: {', '.join(unknown)}")
    settings = {}
    for spelling, value in values.items():
        name = spellings[spelling]
        convert = _converter(fields[name])
        try:
            settings[name] = convert(value)
        except (OverflowError, TypeError, ValueError):
            check(False, name, repr(value), f"a value of type {convert.__name__}")
        allowed = fields[name].metadata["choices"]
        check(not allowed or settings[name] in allowed, name, repr(value), ", ".join(allowed))
    return cls(**settings)


def _converter(field: "dataclasses.Field[Any]") -> Callable[[Any], Any]:
    """Make a function from what was given to a value of the field's type."""
    kind: type[Any] = type(field.default)

    def convert(given: Any) -> Any:
        former_values = field.metadata["former_values"]
        return kind(former_values.get(given, given) if isinstance(given, str) else given)

    # argparse names the type by this where a value is none.
    convert.__name__ = kind.__name__
    return convert


def _spellings(fields: Mapping[str, "dataclasses.Field[Any]"]) -> dict[str, str]:
    """Map every accepted name of a setting, former ones included, to its field."""
    formers = {f.metadata["former"]: name for name, f in fields.items() if f.metadata["former"]}
    return formers | {name: name for name in fields}


def _spelled(name: str) -> str:
    return "--" + name.replace("_", "-")
