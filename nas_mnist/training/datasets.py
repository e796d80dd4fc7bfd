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
from nas_mnist.training.recipe import DATASETS, Source

# Of the training images, one in six validates: 10,000 of the 60,000 of MNIST.
VALIDATION_SHARE = 6

_FILES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
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
        """A dataset of arrays or tensors; DataError if they have other shapes or values.

        Args:
            train_images, test_images: (n, 28, 28) or (n, 1, 28, 28), whole numbers 0 to 255.
            train_labels, test_labels: (n,), whole numbers 0 to 9.
        """
        try:
            train = _images_of(train_images, train_labels)
            test = _images_of(test_images, test_labels)
        except (TypeError, ValueError) as error:
            raise DataError(f"dataset {name}: {_line(error)}") from None
        return cls(name, train, test, _normalization(train.images))


def load_dataset(name: str, data_dir: Path | None = None) -> Dataset:
    """The image set of that name.

    Args:
        name: one of DATASETS; or `module:attribute` or the label of a given object: a Dataset, or
            what makes one of the data folder.
        data_dir: where files are sought, and downloaded to if they are missing; else in the folder
            that NAS_MNIST_DATA names, else in the user's cache folder.

    Raises:
        RequestError: for a name that means nothing.
        DataError: for files that are missing, unreadable, truncated or corrupt.
    """
    found = find("--dataset", name, DATASETS)
    if isinstance(found, Source):
        train, test = _idx_files(name, found.folder, data_dir) if found.folder else _digits()
        return Dataset(name, train, test, _normalization(train.images))
    try:
        dataset = found if isinstance(found, Dataset) else found(data_dir)
        if not isinstance(dataset, Dataset):
            raise TypeError(f"it gives a {type(dataset).__name__}, not a Dataset")
        train, test = _checked(dataset.train), _checked(dataset.test)
    except NasMnistError:
        raise
    except Exception as error:  # a user's own may fail in any way
        raise DataError(f"--dataset {name}: {_line(error)}") from None
    return Dataset(name, train, test, dataset.normalization)


def split_dataset(
    dataset: Dataset, seed: int, train_samples: int | None = None
) -> tuple[Images, Images]:
    """The training images as two: to train on and to validate on, drawn by `seed`.

    One image in six validates; of the others, the first `train_samples` train (all if None),
    RequestError if there are fewer. The validation images do not depend on `train_samples`.
    """
    order = _shuffled(dataset.train, seed)
    validation, train = order.tensor_split([len(order) // VALIDATION_SHARE])
    return dataset.train.at(_first(train, train_samples)), dataset.train.at(validation)


def first_train_samples(dataset: Dataset, train_samples: int | None) -> Dataset:
    """The dataset with `train_samples` of its training images, drawn by a fixed seed; whole if
    None. Raises RequestError if there are fewer."""
    if train_samples is None:
        return dataset
    order = _first(_shuffled(dataset.train, 0), train_samples)
    return replace(dataset, train=dataset.train.at(order))


def data_folder(data_dir: Path | None) -> Path:
    """The folder in which image files are sought, and to which they are downloaded."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return data_dir or Path(os.environ.get("NAS_MNIST_DATA") or Path(cache) / "nas-mnist")


def _shuffled(images: Images, seed: int) -> Tensor:
    return torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))


def _first(order: Tensor, train_samples: int | None) -> Tensor:
    if train_samples is not None and not 2 <= train_samples <= len(order):
        raise RequestError(
            f"--train-samples {train_samples} is not within 2 to {len(order)}, the training "
            "images there are"
        )
    return order[:train_samples]


def _normalization(images: Tensor) -> Normalization:
    pixels = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.bincount(images.flatten(), minlength=256)
    shares = counts.double() / images.numel()
    mean = (shares * pixels).sum()
    std = (shares * (pixels - mean) ** 2).sum().sqrt()
    return Normalization(float(mean), float(std))


def _images_of(images: Any, labels: Any) -> Images:
    """Of arrays or tensors, checked."""
    pixels, classes = torch.as_tensor(images), torch.as_tensor(labels)
    if pixels.is_floating_point() or classes.is_floating_point():
        raise ValueError("pixels and labels are whole numbers")
    if pixels.numel() and not 0 <= int(pixels.min()) <= int(pixels.max()) <= 255:
        raise ValueError("a pixel outside 0 to 255")
    pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels
    return _checked(Images(pixels.to(torch.uint8), classes.long()))


def _checked(found: Images) -> Images:
    """The images; ValueError if something is wrong with them."""
    images, labels = found.images, found.labels
    if images.dtype != torch.uint8:
        raise ValueError(f"pixels of type {images.dtype}, not uint8")
    if images.shape[1:] != INPUT_SHAPE:
        raise ValueError(f"images of shape {tuple(images.shape)}")
    if len(images) != len(labels) or len(images) == 0:
        raise ValueError(f"{len(images)} images but {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise ValueError(f"a label outside 0 to {CLASSES - 1}")
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _idx_files(name: str, set_folder: str, data_dir: Path | None) -> tuple[Images, Images]:
    folder = data_folder(data_dir)
    raw = folder / set_folder / "raw"
    try:
        if not all((raw / file).is_file() for files in _FILES for file in files):
            _download(name, set_folder, folder)
        train, test = (
            _checked(Images(_read_idx(raw / images, 3)[:, None], _read_idx(raw / labels, 1).long()))
            for images, labels in _FILES
        )
        return train, test
    except OSError as error:
        raise DataError(f"{name}: cannot read {folder}: {reason(error)}") from None
    except (ValueError, struct.error) as error:
        raise DataError(
            f"{name}: the files in {folder} are truncated or corrupt ({error}); delete them so "
            "that they are downloaded again, or name another folder with --data-dir"
        ) from None


def _read_idx(file: Path, dimensions: int) -> Tensor:
    """A file of bytes in the format of the MNIST files (LeCun, Cortes, Burges: The MNIST
    database, 1998); ValueError or struct.error for any other."""
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
        raise DataError(
            f"{name}: no files in {folder / set_folder / 'raw'} and none could be downloaded; name "
            "a folder that has them with --data-dir, or try --dataset digits, which needs none"
        ) from None


def _digits() -> tuple[Images, Images]:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels, resized to 28×28. One in five, in
    an order that never changes, tests."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) * (255 / 16)
    large = functional.interpolate(small, INPUT_SHAPE[1:], mode="bilinear", align_corners=False)
    images = Images(large.round().to(torch.uint8), torch.from_numpy(labels).long())
    order = _shuffled(images, 0)
    test, train = order.tensor_split([len(order) // 5])
    return images.at(train), images.at(test)
