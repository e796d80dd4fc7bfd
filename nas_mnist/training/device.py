"""Where networks are trained, and in which precision."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

import torch

from nas_mnist.errors import RequestError

# glibc's mallopt: return the heap's top beyond M_TRIM_THRESHOLD, extend it by M_TOP_PAD, and map
# what is above M_MMAP_THRESHOLD by itself.
_MALLOC_OPTIONS = {-1: 2**31 - 1, -2: 64 * 2**20, -3: 2**30}
# What a processor reports that multiplies bfloat16 numbers itself; others would emulate them.
_BFLOAT16 = ("avx512_bf16", "amx_bf16")


def resolve_device(name: str) -> torch.device:
    """`auto` is the first GPU, else the CPU. Raises RequestError for a device not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise RequestError(
            f"device {name!r} is not usable here; take auto, which is what there is, or cpu"
        ) from None
    return device


def training_precision(device: torch.device) -> torch.dtype:
    """bfloat16 on a processor that multiplies it itself, else float32; weights, their updates and
    every evaluation are float32 in both."""
    if device.type != "cpu":
        return torch.float32
    # torch before 2.9 has no such list.
    reported: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if any(map(reported.get, _BFLOAT16)) else torch.float32


def best_precision(device: str) -> str:
    """The name of the precision that training on this device is best at."""
    if device not in ("auto", "cpu"):
        return "float32"
    return str(training_precision(resolve_device(device))).removeprefix("torch.")


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is what the device is best at. Raises RequestError for an unknown name."""
    if name == "auto":
        return training_precision(device)
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in known:
        raise RequestError(f"precision {name!r} is not one of auto, {', '.join(known)}")
    return known[name]


def keep_freed_memory() -> None:
    """Let this process keep what it frees instead of returning it to the system.

    A step takes and frees the same large blocks as the last one; fetching their pages anew each
    time costs a tenth of the time. Does nothing where the C library is not glibc.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in _MALLOC_OPTIONS.items():
            mallopt(option, size)
