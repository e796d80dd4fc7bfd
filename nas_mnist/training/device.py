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
        way_out = "take auto, which is what there is, or cpu"
        raise RequestError(f"device {name!r} is not usable here; {way_out}") from None
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """That of training; weights, their updates and every evaluation are float32 in both. `auto` is
    bfloat16 on a processor that multiplies it itself, else float32. RequestError for others."""
    known = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in known:
        raise RequestError(f"precision {name!r} is not one of {', '.join(known)}")
    # torch before 2.9 has no such list.
    reported: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = device.type == "cpu" and any(map(reported.get, _BFLOAT16))
    return known[name] or (torch.bfloat16 if fast else torch.float32)


def best_precision(device: str) -> str:
    """The name of the precision that training on this device is best at."""
    here = resolve_device(device) if device in ("auto", "cpu") else torch.device("cuda")
    return str(resolve_precision("auto", here)).removeprefix("torch.")


def keep_freed_memory() -> None:
    """Let this process keep what it frees, where the C library is glibc: a step takes and frees
    the same large blocks as the last one, and fetching their pages anew is a tenth of its time."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in _MALLOC_OPTIONS.items():
            mallopt(option, size)
