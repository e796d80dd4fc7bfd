"""Image sets as whole tensors: found, read, checked and split."""

from __future__ import annotations

import math
import os
import struct
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas_mnist.errors import DataError, RequestError, reason
from nas_mnist.networks.layers import CLASSES, INPUT_SHAPE
from nas_mnist.training.recipe import check_dataset

# Of the training images, one in six validates: 10,000 of the 60,000 of MNIST.
VALIDATION_SHARE = 6

# The image sets that come as files, by torchvision's names, which are those of their folders too.
FILE_SETS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
_FILES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
# What torchvision raises on downloads that fail or are cut short.
_DAMAGE = (RuntimeError, AssertionError, ValueError, IndexError, KeyError, EOFError)


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """`images`: (n, 1, 28, 28) uint8; `labels`: (n,) int64, 0 to 9."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, places: Tensor) -> Images:
        return Images(self.images[places], self.labels[places])

    def to(self, device: torch.device) -> Images:
        return Images(self.images.to(device), self.labels.to(device))


class Normalization(NamedTuple):
    """What every network's input is normalized by: the mean and the standard deviation of the
    training pixels, as shares of full brightness."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """An image set: what to learn from, and what to report on."""

    name: str
    train: Images
    test: Images
    normalization: Normalization


def load_dataset(name: str, data_dir: Path | None = None) -> Dataset:
    """The image set `name`, one of `DATASETS`.

    Files are sought in `data_dir`, else in the folder that NAS_MNIST_DATA names, else in the
    user's cache folder, and downloaded there if they are missing. `digits` comes with
    scikit-learn and needs no files. Raises RequestError for an unknown name, DataError for
    files that are missing, unreadable, truncated or corrupt.
    """
    check_dataset(name)
    train, test = _digits() if name == "digits" else _idx_files(name, data_dir)
    return Dataset(name, train, test, _normalization(train.images))


def split_dataset(
    dataset: Dataset, seed: int, train_samples: int | None = None
) -> tuple[Images, Images]:
    """The training images as two: to train on and to validate on, drawn by `seed`.

    One image in six validates; of the others, the first `train_samples` train (all if None).
    The validation images do not depend on `train_samples`. Raises RequestError if there are
    fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(dataset.train), generator=generator)
    validation, train = order.tensor_split([len(order) // VALIDATION_SHARE])
    if train_samples is not None:
        _check_train_samples(train_samples, len(train))
        train = train[:train_samples]
    return dataset.train.at(train), dataset.train.at(validation)


def first_train_samples(dataset: Dataset, train_samples: int | None) -> Dataset:
    """The dataset with `train_samples` of its training images, drawn by a fixed seed; whole if
    None. Raises RequestError if there are fewer."""
    if train_samples is None:
        return dataset
    _check_train_samples(train_samples, len(dataset.train))
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(0))
    return replace(dataset, train=dataset.train.at(order[:train_samples]))


def data_folder(data_dir: Path | None) -> Path:
    """The folder in which image files are sought, and to which they are downloaded."""
    if data_dir is not None:
        return data_dir
    if os.environ.get("NAS_MNIST_DATA"):
        return Path(os.environ["NAS_MNIST_DATA"])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "nas-mnist"


def _normalization(images: Tensor) -> Normalization:
    pixels = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.bincount(images.flatten(), minlength=256)
    shares = counts.double() / images.numel()
    mean = (shares * pixels).sum()
    std = (shares * (pixels - mean) ** 2).sum().sqrt()
    return Normalization(float(mean), float(std))


def _check_train_samples(train_samples: int, available: int) -> None:
    if not 2 <= train_samples <= available:
        raise RequestError(
            f"--train-samples {train_samples} is not within 2 to {available}, the training "
            "images there are"
        )


def _idx_files(name: str, data_dir: Path | None) -> tuple[Images, Images]:
    folder = data_folder(data_dir)
    raw = folder / FILE_SETS[name] / "raw"
    try:
        if not all((raw / file).is_file() for files in _FILES for file in files):
            _download(name, folder)
        train, test = (
            Images(_read_idx(raw / images, 3).unsqueeze(1), _read_idx(raw / labels, 1).long())
            for images, labels in _FILES
        )
    except OSError as error:
        raise DataError(f"{name}: cannot read {folder}: {reason(error)}") from None
    except (ValueError, struct.error) as error:
        raise _corrupt(name, folder, str(error)) from None
    return _checked(name, folder, train), _checked(name, folder, test)


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


def _download(name: str, folder: Path) -> None:
    # For this alone: importing torchvision takes as long as importing torch.
    from torchvision import datasets

    kind = getattr(datasets, FILE_SETS[name])
    # torchvision reports its downloads on standard output, which is for data.
    try:
        with redirect_stdout(sys.stderr):
            kind(folder, download=True)
    except PermissionError as error:
        raise DataError(f"{name}: cannot read {folder}: {reason(error)}") from None
    except (OSError, *_DAMAGE):
        raise DataError(
            f"{name}: no files in {folder / FILE_SETS[name] / 'raw'} and none could be "
            "downloaded; name a folder that has them with --data-dir, or try --dataset digits, "
            "which needs none"
        ) from None


def _checked(name: str, folder: Path, found: Images) -> Images:
    images, labels = found.images, found.labels
    if images.shape[1:] != INPUT_SHAPE:
        raise _corrupt(name, folder, f"images of shape {tuple(images.shape)}")
    if len(images) != len(labels) or len(images) == 0:
        raise _corrupt(name, folder, f"{len(images)} images but {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise _corrupt(name, folder, f"a label outside 0 to {CLASSES - 1}")
    return found


def _corrupt(name: str, folder: Path, what: str) -> DataError:
    return DataError(
        f"{name}: the files in {folder} are truncated or corrupt ({what}); delete them so that "
        "they are downloaded again, or name another folder with --data-dir"
    )


def _digits() -> tuple[Images, Images]:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels, resized to 28×28. One in five, in
    an order that never changes, tests."""
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None  # it is a dependency
    # Its file alone: importing scikit-learn takes as long as importing torch.
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    found = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.float32))
    small = found[:, :-1].view(-1, 1, 8, 8) * (255 / 16)
    large = functional.interpolate(small, INPUT_SHAPE[1:], mode="bilinear", align_corners=False)
    images = Images(large.round().to(torch.uint8), found[:, -1].long())
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    test, train = order.tensor_split([len(order) // 5])
    return images.at(train), images.at(test)
