"""Where networks are trained, and at what precision."""

import ctypes
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from nas_mnist.errors import RequestError

# glibc's mallopt: return the heap's top beyond M_TRIM_THRESHOLD, extend it by M_TOP_PAD, and map
# what is above M_MMAP_THRESHOLD by itself.
_MALLOC_OPTIONS = {-1: 2**31 - 1, -2: 64 * 2**20, -3: 2**30}
# What a processor reports that multiplies bfloat16 numbers itself; others would emulate them.
_BFLOAT16 = ("avx512_bf16", "amx_bf16")
_BFLOAT16_PAYS = "the processor multiplies bfloat16"


def resolve_device(name: str) -> torch.device:
    """`auto` is the first GPU, else the CPU. Nothing is put on a GPU to find out. Raises
    RequestError for a device not here."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cuda" and (device.index or 0) < gpus:
        torch.backends.cudnn.allow_tf32 = False  # float32 is float32
    elif device.type != "cpu":
        way_out = "take auto, which is what there is, or cpu"
        raise RequestError(f"device {name!r} is not usable here; {way_out}")
    return device


def named(device: torch.device) -> str:
    return "the CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)


def unused_gpu(name: str) -> str | None:
    """What keeps training, where `auto` was asked for, from a GPU that this machine has."""
    there = Path("/proc/driver/nvidia/version").exists()
    if name != "auto" or not there or torch.cuda.is_available():
        return None
    built = f"made for CUDA {torch.version.cuda}" if torch.version.cuda else "made for CPUs alone"
    return (
        f"this machine has an NVIDIA GPU, but torch {torch.__version__}, {built}, cannot use it: "
        "training is on the CPU; update the GPU's driver, or install a torch made for its CUDA "
        "(https://pytorch.org/get-started)"
    )


def has_kernels(device: torch.device) -> bool:
    """Whether training on that device goes by kernels of our own (see `compiled`)."""
    return device.type == "cpu" and find_spec("numba") is not None


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """That of training; weights, their updates and every evaluation are float32 in both. `auto` is
    what `precision_reason` says. RequestError for others."""
    known = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in known:
        raise RequestError(f"precision {name!r} is not one of {', '.join(known)}")
    fast = precision_reason(device) == _BFLOAT16_PAYS
    return known[name] or (torch.bfloat16 if fast else torch.float32)


def precision_reason(device: torch.device) -> str:
    """Why `auto` is the precision that it is on that device: a rule, the same for every network and
    on every run. Without kernels of our own, depthwise convolutions would take up to three times as
    long in bfloat16 as in float32."""
    if device.type != "cpu":
        return "on a GPU"
    # torch before 2.9 has no such list.
    reported: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if not any(map(reported.get, _BFLOAT16)):
        return "the processor does not multiply bfloat16"
    return _BFLOAT16_PAYS if has_kernels(device) else "numba is not installed"


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
