"""MNIST's files and those of sets like it: found, downloaded and read."""

import gzip
import math
import struct
import sys
import zlib
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import Tensor

from nas_mnist.errors import DataError, RequestError, reason

_FILES = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


def read_files(name: str, set_folder: str, folder: Path, *, given: bool) -> list[Tensor]:
    """Training images and labels, then those to test on, as their four files have them, which are
    downloaded if they are missing. `given`: a folder that a person named, which must be there."""
    raw = folder / set_folder / "raw"
    try:
        found = _found_in(raw) or _found_in(folder)
        if not found:
            if given:
                check_folder(name, folder)
            _download(name, set_folder, folder)
            found = _found_in(raw)
        return [_read_idx(*file) for file in zip(found, (3, 1, 3, 1), strict=True)]
    except OSError as error:
        raise DataError(f"{name}: cannot read {folder}: {reason(error)}") from None


def check_folder(name: str, folder: Path) -> None:
    """RequestError if there is no such folder."""
    if not folder.is_dir():
        said = "is a file, not a folder" if folder.exists() else "No such folder"
        raise RequestError(f"{name}: cannot read {folder}: {said}; name another with --data-dir")


def _found_in(folder: Path) -> list[Path]:
    """The four files, plain or gzipped; none if one is missing."""
    names = [(folder / name, folder / f"{name}.gz") for name in _FILES]
    found = [next(filter(Path.is_file, both), None) for both in names]
    return [file for file in found if file] if all(found) else []


def _read_idx(file: Path, dimensions: int) -> Tensor:
    """A file in the format of MNIST's (LeCun, Cortes, Burges: The MNIST database, 1998);
    ValueError for any other."""
    read, header = file.read_bytes(), 4 * (1 + dimensions)
    try:
        content = bytearray(gzip.decompress(read) if file.suffix == ".gz" else read)
        magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header])
    except (gzip.BadGzipFile, EOFError, struct.error, zlib.error):
        raise ValueError(f"{file.name} is empty, cut short or of another kind") from None
    if magic != 0x800 + dimensions:  # 8: unsigned bytes
        raise ValueError(f"{file.name} is no IDX file of {dimensions} dimensions")
    if len(content) != header + math.prod(shape):
        raise ValueError(f"{file.name} has {len(content) - header} of {math.prod(shape)} bytes")
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).view(shape)


def _download(name: str, set_folder: str, folder: Path) -> None:
    try:  # for this alone: importing torchvision takes as long as importing torch
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:
        said = f"{name}: torchvision, which downloads it, cannot be imported ({error})"
        way_out = "install the build that fits torch's, or name a folder of files with --data-dir"
        raise DataError(f"{said}; {way_out}") from None
    try:
        with redirect_stdout(sys.stderr):  # it reports on standard output, which is for data
            getattr(datasets, set_folder)(folder, download=True)
    except PermissionError:
        raise
    # What torchvision raises on downloads that fail or are cut short.
    except (OSError, RuntimeError, AssertionError, ValueError, LookupError, EOFError):
        raw = folder / set_folder / "raw"
        missing = [n for n in _FILES if not ((raw / n).is_file() or (raw / f"{n}.gz").is_file())]
        files = "files" if len(missing) == len(_FILES) else ", ".join(missing)
        said = f"{name}: no {files} in {raw} and none could be downloaded"
        way_out = "name a folder that has them with --data-dir, or try --dataset digits"
        raise DataError(f"{said}; {way_out}, which needs none") from None
