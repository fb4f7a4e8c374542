"""The device that a half runs on, and its number format."""

from collections.abc import Mapping
from typing import Any

import torch

from luvc_core.errors import InvalidSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by name; `auto` takes CUDA where there is one.

    Raises:
        InvalidSettings: for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in here and not (name == "cuda" and here[1:]):
        raise InvalidSettings("device", f"got {name!r}", ", ".join(("auto", *here)))
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return a number format by name; `auto` is bfloat16 where the device computes in it."""
    if name == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bf16()
        return torch.bfloat16 if fast else torch.float32
    if name not in DTYPES:
        raise InvalidSettings("dtype", f"got {name!r}", ", ".join(("auto", *DTYPES)))
    return DTYPES[name]


def _cpu_has_bf16() -> bool:
    """Tell whether the CPU multiplies bfloat16; without, a product is a hundred times slower."""
    # An older torch cannot tell; assume that the CPU does not.
    has: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(has.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
