"""Folders of pictures, each of whose folders is a class, as grey images."""

import os
import warnings
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nas_mnist.errors import DataError
from nas_mnist.networks.layers import INPUT_SHAPE, MAX_CLASSES

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


def class_folders(root: Path) -> list[str]:
    """The names of its folders, in order, without hidden ones and Python's own."""
    names = (entry.name for entry in os.scandir(root) if entry.is_dir())
    return sorted(name for name in names if not name.startswith((".", "__pycache__")))


def read_pictures(root: Path) -> tuple[Tensor, list[int], list[str]]:
    """All images (n, 1, 28, 28) uint8, the class of each, and the classes' names. DataError if a
    class has none, or one cannot be read."""
    classes = class_folders(root)
    if not 2 <= len(classes) <= MAX_CLASSES:
        there = f"{root} has {len(classes)} folders of pictures, not 2 to {MAX_CLASSES}"
        raise DataError(f"{there}, one for each class; say with --data-dir where they are")
    files = [_pictures_in(root / name) for name in classes]
    if empty := [name for name, found in zip(classes, files, strict=True) if not found]:
        raise DataError(f"no picture ({', '.join(_ENDINGS)}) in {root / empty[0]}")
    labels = [label for label, found in enumerate(files) for _ in found]
    return torch.stack([_image(file) for found in files for file in found]), labels, classes


def _pictures_in(folder: Path) -> list[Path]:
    """In its own folders too, but for links to folders, which may lead back."""
    found = sorted((root, sorted(names)) for root, _, names in os.walk(folder))
    files = (Path(root, name) for root, names in found for name in names)
    return [file for file in files if file.suffix.lower() in _ENDINGS and file.name[0] != "."]


def _image(file: Path) -> Tensor:
    if not file.is_file():  # a pipe would be waited for
        raise DataError(f"{file} is not a file; remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                return torch.frombuffer(bytearray(grey(picture).tobytes()), dtype=torch.uint8).view(
                    INPUT_SHAPE
                )
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"{file} has too many pixels; make it smaller") from None
    except Exception:  # pillow raises many things for a damaged file
        raise DataError(f"{file} cannot be read as a picture; mend or remove it") from None


def grey(picture: Image.Image) -> Image.Image:
    """The picture in 28×28 grey pixels: 16 bits scaled to 8, and white where it is transparent, as
    viewers show it. An exported file does the same."""
    if picture.mode.startswith("I"):
        picture = picture.convert("I").point(lambda value: value * (1 / 257) + 0.5)
    elif "A" in picture.getbands() or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("L").resize(INPUT_SHAPE[1:])
