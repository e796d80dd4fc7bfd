"""Image sets as whole tensors: found, read, checked and split."""

from __future__ import annotations

import math
import os
import struct
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nas_mnist.errors import DataError, NasMnistError, RequestError, reason
from nas_mnist.lookup import find
from nas_mnist.networks.layers import CLASSES, INPUT_SHAPE
from nas_mnist.training.recipe import DATASETS

_FILES = [(f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte") for part in ("train", "t10k")]
# What torchvision raises on downloads that fail or are cut short.
_DAMAGE = (OSError, RuntimeError, AssertionError, ValueError, LookupError, EOFError)


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """`images`: (n, 1, 28, 28) uint8; `labels`: (n,) int64, 0 to 9."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, indices: Tensor) -> Images:
        return Images(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> Images:
        return Images(self.images.to(device), self.labels.to(device))


class Normalization(NamedTuple):
    """Of every network's input, by the training pixels, as shares of full brightness."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """An image set: what to learn from, and what to report on."""

    name: str
    train: Images
    test: Images
    normalization: Normalization

    @classmethod
    def of(
        cls, name: str, train_images: Any, train_labels: Any, test_images: Any, test_labels: Any
    ) -> Dataset:
        """A dataset of arrays or tensors: images (n, 28, 28) or (n, 1, 28, 28), whole numbers 0
        to 255; labels (n,), whole numbers 0 to 9. DataError for others."""
        try:
            train, test = _checked(train_images, train_labels), _checked(test_images, test_labels)
        except (TypeError, ValueError) as error:
            raise DataError(f"dataset {name}: {_line(error)}") from None
        return cls(name, train, test, _normalization(train.images))


def load_dataset(name: str, data_dir: Path | None = None) -> Dataset:
    """The image set of that name: one of DATASETS; or `module:attribute` or the label of a given
    object, a Dataset or what makes one of the data folder. RequestError for a name that means
    nothing, DataError for files that are missing or damaged."""
    found = find("--dataset", name, DATASETS)
    if name in DATASETS:
        train, test = _idx_files(name, found, data_dir) if found else _digits()
        return Dataset(name, train, test, _normalization(train.images))
    try:
        own = found if isinstance(found, Dataset) else found(data_dir)
        if not isinstance(own, Dataset):
            raise TypeError(f"it gives a {type(own).__name__}, not a Dataset")
        train, test = (_checked(part.images, part.labels) for part in (own.train, own.test))
        return Dataset(name, train, test, own.normalization)
    except NasMnistError:
        raise
    except Exception as error:  # a user's own may fail in any way
        raise DataError(f"--dataset {name}: {_line(error)}") from None


def split_dataset(
    dataset: Dataset, seed: int, train_samples: int | None = None
) -> tuple[Images, Images]:
    """The training images as two: to train on and to validate on, drawn by `seed`. One image in
    six validates, 10,000 of MNIST's; of the others `train_samples` train, all if None, and it is
    a RequestError if there are fewer."""
    order = _shuffled(dataset.train, seed)
    validation, train = order.tensor_split([len(order) // 6])
    return dataset.train.at(_first(train, train_samples)), dataset.train.at(validation)


def first_train_samples(dataset: Dataset, train_samples: int | None) -> Dataset:
    """The dataset with `train_samples` of its training images, drawn by a fixed seed; whole if
    None. Raises RequestError if there are fewer."""
    if train_samples is None:
        return dataset
    order = _first(_shuffled(dataset.train, 0), train_samples)
    return replace(dataset, train=dataset.train.at(order))


def data_folder(data_dir: Path | None) -> Path:
    """Where image files are sought, and downloaded to if they are missing: the folder given,
    else the one that NAS_MNIST_DATA names, else the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return data_dir or Path(os.environ.get("NAS_MNIST_DATA") or Path(cache) / "nas-mnist")


def _shuffled(images: Images, seed: int) -> Tensor:
    return torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))


def _first(order: Tensor, train_samples: int | None) -> Tensor:
    if train_samples is not None and not 2 <= train_samples <= len(order):
        there = f"2 to {len(order)}, the training images there are"
        raise RequestError(f"--train-samples {train_samples} is not within {there}")
    return order[:train_samples]


def _normalization(images: Tensor) -> Normalization:
    pixels = torch.arange(256, dtype=torch.float64) / 255
    shares = torch.bincount(images.flatten(), minlength=256).double() / images.numel()
    mean = (shares * pixels).sum()
    std = (shares * (pixels - mean) ** 2).sum().sqrt()
    return Normalization(float(mean), float(std))


def _checked(images: Any, labels: Any) -> Images:
    """Images of arrays or tensors; ValueError if something is wrong with them."""
    pixels, classes = torch.as_tensor(images), torch.as_tensor(labels)
    if pixels.is_floating_point() or classes.is_floating_point():
        raise ValueError("pixels and labels are whole numbers")
    if pixels.numel() and not 0 <= int(pixels.min()) <= int(pixels.max()) <= 255:
        raise ValueError("a pixel outside 0 to 255")
    pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels
    if pixels.shape[1:] != INPUT_SHAPE:
        raise ValueError(f"images of shape {tuple(pixels.shape)}")
    if len(pixels) != len(classes) or len(pixels) == 0:
        raise ValueError(f"{len(pixels)} images but {len(classes)} labels")
    if classes.min() < 0 or classes.max() >= CLASSES:
        raise ValueError(f"a label outside 0 to {CLASSES - 1}")
    return Images(pixels.to(torch.uint8), classes.long())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _idx_files(name: str, set_folder: str, data_dir: Path | None) -> tuple[Images, Images]:
    folder = data_folder(data_dir)
    raw = folder / set_folder / "raw"
    try:
        if not all((raw / file).is_file() for files in _FILES for file in files):
            _download(name, set_folder, folder)
        train, test = (
            _checked(_read_idx(raw / images, 3), _read_idx(raw / labels, 1))
            for images, labels in _FILES
        )
        return train, test
    except OSError as error:
        raise DataError(f"{name}: cannot read {folder}: {reason(error)}") from None
    except (ValueError, struct.error) as error:
        way_out = "delete them so that they are downloaded again, or name another folder"
        said = f"{name}: the files in {folder} are truncated or corrupt ({error})"
        raise DataError(f"{said}; {way_out} with --data-dir") from None


def _read_idx(file: Path, dimensions: int) -> Tensor:
    """A file in the format of MNIST's (LeCun, Cortes, Burges: The MNIST database, 1998);
    ValueError or struct.error for any other."""
    content = bytearray(file.read_bytes())
    header = 4 * (1 + dimensions)
    magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header])
    if magic != 0x800 + dimensions:  # 8: unsigned bytes
        raise ValueError(f"{file.name} is no IDX file of {dimensions} dimensions")
    if len(content) != header + math.prod(shape):
        raise ValueError(f"{file.name} has {len(content) - header} of {math.prod(shape)} bytes")
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).view(shape)


def _download(name: str, set_folder: str, folder: Path) -> None:
    # For this alone: importing torchvision takes as long as importing torch.
    from torchvision import datasets

    try:
        with redirect_stdout(sys.stderr):  # it reports on standard output, which is for data
            getattr(datasets, set_folder)(folder, download=True)
    except PermissionError:
        raise
    except _DAMAGE:
        said = f"{name}: no files in {folder / set_folder / 'raw'} and none could be downloaded"
        way_out = "name a folder that has them with --data-dir, or try --dataset digits"
        raise DataError(f"{said}; {way_out}, which needs none") from None


def _digits() -> tuple[Images, Images]:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels, resized; one in five tests."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) * (255 / 16)
    large = functional.interpolate(small, INPUT_SHAPE[1:], mode="bilinear", align_corners=False)
    images = Images(large.round().to(torch.uint8), torch.from_numpy(labels).long())
    order = _shuffled(images, 0)
    test, train = order.tensor_split([len(order) // 5])
    return images.at(train), images.at(test)
