"""Image sets as whole tensors: found, read, checked and split."""

from __future__ import annotations

import gzip
import math
import os
import struct
import sys
import zlib
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nas_mnist.errors import DataError, NasMnistError, RequestError, reason
from nas_mnist.lookup import find
from nas_mnist.networks.layers import INPUT_SHAPE, MAX_CLASSES
from nas_mnist.training.recipe import DATASETS

_FILES = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """`images`: (n, 1, 28, 28) uint8; `labels`: (n,) int64, from 0."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, indices: Tensor | slice) -> Images:
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

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise DataError(f"--dataset {self.name}: all images are of one class")

    @property
    def classes(self) -> int:
        return 1 + int(max(self.train.labels.max(), self.test.labels.max()))

    @classmethod
    def of(
        cls, name: str, train_images: Any, train_labels: Any, test_images: Any, test_labels: Any
    ) -> Dataset:
        """A dataset of arrays or tensors: images (n, 28, 28) or (n, 1, 28, 28), whole numbers 0
        to 255; labels (n,), whole numbers from 0. DataError for others."""
        try:
            train, test = _checked(train_images, train_labels), _checked(test_images, test_labels)
        except (TypeError, ValueError) as error:
            raise DataError(f"dataset {name}: {_line(error)}") from None
        return cls(name, train, test, _normalization(train.images))


def load_dataset(name: str, data_dir: Path | str | None = None) -> Dataset:
    """The image set of that name: one of DATASETS; or `module:attribute` or the label of a given
    object, a Dataset or what makes one of the data folder. RequestError for a name that means
    nothing, DataError for files that are missing or damaged."""
    found = find("--dataset", name, DATASETS)
    if name in DATASETS:
        if found:
            train, test = _idx_files(name, found, data_dir)
        else:
            train, test = _digits() if name == "digits" else _pictures(data_folder(data_dir))
        return Dataset(name, train, test, _normalization(train.images))
    try:
        own = found if isinstance(found, Dataset) else found(data_dir and Path(data_dir))
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


def data_folder(data_dir: Path | str | None) -> Path:
    """Where image files are sought, and downloaded to if they are missing: the folder given,
    else the one that NAS_MNIST_DATA names, else the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(data_dir or os.environ.get("NAS_MNIST_DATA") or Path(cache) / "nas-mnist")


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
    if classes.min() < 0 or classes.max() >= MAX_CLASSES:
        raise ValueError(f"a label outside 0 to {MAX_CLASSES - 1}")
    return Images(pixels.to(torch.uint8), classes.long())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _idx_files(name: str, set_folder: str, data_dir: Path | str | None) -> tuple[Images, Images]:
    folder = data_folder(data_dir)
    raw = folder / set_folder / "raw"
    try:
        found = _found_in(raw) or _found_in(folder)
        if not found:
            if (data_dir or os.environ.get("NAS_MNIST_DATA")) and not folder.is_dir():
                raise FileNotFoundError("No such folder")
            _download(name, set_folder, folder)
            found = _found_in(raw)
        images, labels, *test = map(_read_idx, found, (3, 1, 3, 1))
        return _checked(images, labels), _checked(*test)
    except OSError as error:
        raise DataError(f"{name}: cannot read {folder}: {reason(error)}") from None
    except (ValueError, EOFError, struct.error, zlib.error) as error:
        way_out = "delete them so that they are downloaded again, or name another folder"
        said = f"{name}: the files in {folder} are truncated or corrupt ({error})"
        raise DataError(f"{said}; {way_out} with --data-dir") from None


def _found_in(folder: Path) -> list[Path]:
    """The four files, plain or gzipped; none if one is missing."""
    names = [(folder / name, folder / f"{name}.gz") for name in _FILES]
    found = [next(filter(Path.is_file, both), None) for both in names]
    return [file for file in found if file] if all(found) else []


def _read_idx(file: Path, dimensions: int) -> Tensor:
    """A file in the format of MNIST's (LeCun, Cortes, Burges: The MNIST database, 1998);
    ValueError or struct.error for any other."""
    read = file.read_bytes()
    content = bytearray(gzip.decompress(read) if file.suffix == ".gz" else read)
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
    # What torchvision raises on downloads that fail or are cut short.
    except (OSError, RuntimeError, AssertionError, ValueError, LookupError, EOFError):
        said = f"{name}: no files in {folder / set_folder / 'raw'} and none could be downloaded"
        way_out = "name a folder that has them with --data-dir, or try --dataset digits"
        raise DataError(f"{said}; {way_out}, which needs none") from None


def _pictures(folder: Path) -> tuple[Images, Images]:
    """A folder's pictures, in grey, resized; each of its folders is a class. Those in `test/`
    test, if there is that and `train/`; else one in five."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.functional import pil_to_tensor

    def read(root: Path) -> tuple[Images, list[str]]:
        found = ImageFolder(root, lambda picture: picture.convert("L").resize(INPUT_SHAPE[1:]))
        pictures = torch.stack([pil_to_tensor(picture) for picture, _ in found])
        return _checked(pictures, found.targets), found.classes

    try:
        if not ((folder / "train").is_dir() and (folder / "test").is_dir()):
            return _one_in_five(read(folder)[0])
        (train, classes), (test, others) = (read(folder / part) for part in ("train", "test"))
        if classes != others:
            raise ValueError("train/ and test/ have not the same classes")
        return train, test
    except (OSError, ValueError, RuntimeError) as error:
        way_out = "name a folder that has a folder of pictures for each class with --data-dir"
        raise DataError(f"--dataset folder: {_line(error)}; {way_out}") from None


def _one_in_five(images: Images) -> tuple[Images, Images]:
    """To train and to test, in an order that never changes."""
    order = _shuffled(images, 0)
    test, train = order.tensor_split([len(order) // 5])
    return images.at(train), images.at(test)


def _digits() -> tuple[Images, Images]:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels, resized; one in five tests."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) * (255 / 16)
    large = functional.interpolate(small, INPUT_SHAPE[1:], mode="bilinear", align_corners=False)
    return _one_in_five(Images(large.round().to(torch.uint8), torch.from_numpy(labels).long()))
