"""Where a half runs, and in which number format."""

import torch

from luvc_core.errors import InvalidSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA where there is one. Raises InvalidSettings for a device that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidSettings("device", f"got {name!r}", "auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidSettings("device", f"got {name!r}", f"{torch.cuda.device_count()} CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise InvalidSettings("device", f"got {name!r}", "auto, cpu, cuda or cuda:N")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the device computes in it, else float32."""
    if name == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bf16()
        return torch.bfloat16 if fast else torch.float32
    if name not in DTYPES:
        raise InvalidSettings("dtype", f"got {name!r}", ", ".join(("auto", *DTYPES)))
    return DTYPES[name]


def _cpu_has_bf16() -> bool:
    """Without these instructions a bfloat16 matrix product is a hundred times slower."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("amx_bf16") or has.get("avx512_bf16"))
