"""Flags and checks that the configurations of both services share.

Each function declares one field. Functions rather than a base class, because the fields of a base
class would come first in `--help`, whatever they belong to.
"""

from typing import Any

from luvc_core.runtime.cli_config import check, flag
from luvc_core.runtime.log_format import LOG_FORMATS

KIB, MIB = 1 << 10, 1 << 20
_DAY_SECONDS = 86_400


def model_flag() -> Any:
    """Declare `model`: the checkpoint to serve."""
    return flag("luvc-tiny-qwen2vl", "embedded name, local folder or hub id")


def device_flag() -> Any:
    """Declare `device`: where the model computes."""
    return flag("auto", "auto, cpu, cuda or cuda:N")


def dtype_flag() -> Any:
    """Declare `dtype`: the number format of the weights."""
    return flag("auto", "number format", ("auto", "float32", "bfloat16", "float16"))


def timeout_flag() -> Any:
    """Declare `timeout`: the seconds that a request may take."""
    return flag(120.0, "longest time for a request, whatever it asks for")


def grace_flag() -> Any:
    """Declare `grace`: the seconds that accepted requests get when the service stops."""
    return flag(20.0, "time that accepted requests get to finish when stopping")


def log_level_flag() -> Any:
    """Declare `log_level`: the least severity that is logged."""
    return flag("info", "what is logged", ("debug", "info", "warning", "error"))


def log_format_flag() -> Any:
    """Declare `log_format`: text or JSON."""
    return flag("text", "text, or a JSON object a line", LOG_FORMATS)


def check_at_least(config: object, minimum: int, *names: str) -> None:
    """Check that fields are not below a minimum.

    Args:
        config: the configuration.
        minimum: the smallest value allowed.
        names: the fields to check.

    Raises:
        ValueError: naming the flag that is below the minimum.
    """
    for name in names:
        value = getattr(config, name)
        check(value >= minimum, name, value, f">= {minimum}")


def check_seconds(config: object, *names: str) -> None:
    """Check that fields are times above 0 and up to a day; raise ValueError naming the flag."""
    for name in names:
        value = getattr(config, name)
        check(0 < value <= _DAY_SECONDS, name, value, "(0, 86400]")


def check_ports(config: object, minimum: int, *names: str) -> None:
    """Check that fields are TCP ports.

    Args:
        config: the configuration.
        minimum: 0 where 0 means any or none, 1 otherwise.
        names: the fields to check.

    Raises:
        ValueError: naming the flag that is no port.
    """
    for name in names:
        value = getattr(config, name)
        check(minimum <= value < 65536, name, value, f"{minimum} to 65535")
