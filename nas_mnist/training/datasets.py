"""Image sets as whole tensors: found, read, checked and split."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas_mnist.errors import DataError, NasMnistError, RequestError, reason
from nas_mnist.lookup import find
from nas_mnist.networks.layers import INPUT_SHAPE, MAX_CLASSES, shortened
from nas_mnist.training.idx_files import check_folder, read_files
from nas_mnist.training.recipe import DATASETS, FOLDS

# Of the training pixels: the files of these sets have the same names.
_MEANS = {"mnist": 0.1307, "fashion-mnist": 0.2860, "kmnist": 0.1918}
_DIGITS = Path(__file__).with_name("digits.csv.gz")
_WANTED = "give uint8 images of shape (n, 28, 28), and as many whole-number labels from 0"


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
    class_names: tuple[str, ...] = ()
    """of class 0, 1, ...; none if they have but numbers"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(map(str, self.class_names)))
        train, test, said = len(self.train), len(self.test), f"--dataset {self.name}"
        if train < 2 or test < 1:
            there = f"{train} images to train on and {test} to test on"
            raise DataError(f"{said}: {there} are too few; 2 and 1 are the least")
        if (names := self.class_names) and len(names) <= (last := self._last_class()):
            raise DataError(f"{said}: {len(names)} names for {last + 1} classes")
        if odd := [name for name in names if not name.isprintable()]:
            raise DataError(f"{said}: {odd[0]!a} is no name of a class; rename it")
        if self.classes < 2:
            raise DataError(f"{said}: all images are of one class; two are the least")
        if not self.normalization.std > 0:
            raise DataError(f"{said}: all pixels are equal; there is nothing to learn from")

    @property
    def classes(self) -> int:
        return len(self.class_names) or 1 + self._last_class()

    def _last_class(self) -> int:
        return int(max(self.train.labels.max(), self.test.labels.max()))

    @classmethod
    def of(
        cls,
        name: str,
        train_images: Any,
        train_labels: Any,
        test_images: Any,
        test_labels: Any,
        class_names: Iterable[str] = (),
    ) -> Dataset:
        """A dataset of arrays or tensors: images (n, 28, 28) or (n, 1, 28, 28), whole numbers 0
        to 255; labels (n,), whole numbers from 0; what each class is called. DataError for
        others."""
        try:
            train, test = _checked(train_images, train_labels), _checked(test_images, test_labels)
        except ValueError as error:
            raise DataError(f"dataset {name}: {error}; {_WANTED}") from None
        return cls(name, train, test, _normalization(train.images), tuple(class_names))


def load_dataset(name: str, data_dir: Path | str | None = None) -> Dataset:
    """The image set of that name: one of DATASETS; or `module:attribute` or the label of a given
    object, a Dataset or what makes one of the data folder. RequestError for a name that means
    nothing, DataError for files that are missing or damaged."""
    found = find("--dataset", name, DATASETS)
    if name in DATASETS:
        class_names: tuple[str, ...] = ()
        if found:
            train, test = _idx_files(name, found, data_dir)
        elif name == "digits":
            train, test = _digits()
        else:
            train, test, class_names = _pictures(data_folder(data_dir))
        own = Dataset(name, train, test, _normalization(train.images), class_names)
        for other, mean in _MEANS.items() if found else ():
            if other != name and abs(own.normalization.mean - mean) < 0.002:
                said = f"these are the images of {other}; name another folder with --data-dir"
                raise DataError(f"--dataset {name}: {said}")
        return own
    if not (isinstance(found, Dataset) or callable(found)):
        said = f"{shortened(repr(found))} is no Dataset and not callable"
        raise RequestError(
            f"--dataset {name}: {said}; name a Dataset, or a function that gives one"
        )
    try:
        own = found if isinstance(found, Dataset) else found(data_dir and Path(data_dir))
    except NasMnistError:
        raise
    except (Exception, SystemExit) as error:  # a user's own may fail in any way
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"--dataset {name}: {said}") from None
    if not isinstance(own, Dataset):
        raise RequestError(f"--dataset {name}: it gives a {type(own).__name__}, not a Dataset")
    try:
        train, test = (_checked(part.images, part.labels) for part in (own.train, own.test))
    except ValueError as error:
        raise DataError(f"--dataset {name}: {error}; {_WANTED}") from None
    return replace(own, name=name, train=train, test=test)


def split_dataset(
    dataset: Dataset, seed: int, train_samples: int | None = None, fold: int = 0
) -> tuple[Images, Images]:
    """The training images as two: to train on and to validate on, drawn by `seed`. One image in
    six validates, 10,000 of MNIST's, others for each `fold` from 0 to 5; of the rest
    `train_samples` train, all if None, and it is a RequestError if there are fewer, and a
    DataError if none can validate."""
    if len(dataset.train) < FOLDS:
        there = f"{len(dataset.train)} training images are too few for a search"
        raise DataError(
            f"--dataset {dataset.name}: {there}, which holds one in six out; {FOLDS} at least"
        )
    order = _shuffled(dataset.train, seed)
    held_out = len(order) // FOLDS
    before, validation, after = order.tensor_split([fold * held_out, (fold + 1) * held_out])
    train = torch.cat([before, after])
    return dataset.train.at(_first(train, train_samples)), dataset.train.at(validation)


def first_train_samples(
    dataset: Dataset, train_samples: int | None, option: str = "--train-samples"
) -> Dataset:
    """The dataset with `train_samples` of its training images, drawn by a fixed seed; whole if
    None. Raises RequestError, which says `option`, if there are fewer."""
    if train_samples is None:
        return dataset
    order = _first(_shuffled(dataset.train, 0), train_samples, option)
    return replace(dataset, train=dataset.train.at(order))


def data_folder(data_dir: Path | str | None) -> Path:
    """Where image files are sought, and downloaded to if they are missing: the folder given,
    else the one that NAS_MNIST_DATA names, else the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(data_dir or os.environ.get("NAS_MNIST_DATA") or Path(cache) / "nas-mnist")


def _shuffled(images: Images, seed: int) -> Tensor:
    return torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))


def _first(order: Tensor, train_samples: int | None, option: str = "--train-samples") -> Tensor:
    if train_samples is not None and not 2 <= train_samples <= len(order):
        there = f"2 to {len(order)}, the training images there are"
        raise RequestError(f"{option} {train_samples} is not within {there}")
    return order[:train_samples]


def _normalization(images: Tensor) -> Normalization:
    pixels = torch.arange(256, dtype=torch.float64) / 255
    shares = torch.bincount(images.flatten(), minlength=256).double() / images.numel()
    mean = (shares * pixels).sum()
    std = (shares * (pixels - mean) ** 2).sum().sqrt()
    return Normalization(float(mean), float(std))


def _checked(images: Any, labels: Any) -> Images:
    """Images of arrays or tensors; ValueError if something is wrong with them."""
    pixels, classes = _numbers("images", images), _numbers("labels", labels)
    if pixels.shape[1:] not in (INPUT_SHAPE, INPUT_SHAPE[1:]):
        raise ValueError(f"images of shape {pixels.shape}")
    if classes.ndim != 1:
        raise ValueError(f"labels of shape {classes.shape}")
    if len(pixels) != len(classes) or len(pixels) == 0:
        raise ValueError(f"{len(pixels)} images but {len(classes)} labels")
    if not {pixels.dtype.kind, classes.dtype.kind} <= set("iub"):
        raise ValueError(
            f"pixels and labels are whole numbers, not {pixels.dtype} and {classes.dtype}"
        )
    if pixels.min() < 0 or pixels.max() > 255:
        raise ValueError("a pixel outside 0 to 255")
    if classes.min() < 0 or classes.max() >= MAX_CLASSES:
        raise ValueError(f"a label outside 0 to {MAX_CLASSES - 1}")
    pixels = pixels.astype(np.uint8).reshape(-1, *INPUT_SHAPE)
    return Images(torch.from_numpy(pixels), torch.from_numpy(classes.astype(np.int64)))


def _numbers(what: str, values: Any) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
        if array.dtype.kind in "iubf":
            return array
    except (TypeError, ValueError, RuntimeError):  # lists of several lengths, among others
        pass
    raise ValueError(f"{what} that are not an array of whole numbers")


def _idx_files(name: str, set_folder: str, data_dir: Path | str | None) -> tuple[Images, Images]:
    folder, given = data_folder(data_dir), bool(data_dir or os.environ.get("NAS_MNIST_DATA"))
    try:
        images, labels, *test = read_files(name, set_folder, folder, given=given)
        return _checked(images, labels), _checked(*test)
    except ValueError as error:
        way_out = "delete them so that they are downloaded again, or name another folder"
        said = f"{name}: the files in {folder} are truncated or corrupt ({error})"
        raise DataError(f"{said}; {way_out} with --data-dir") from None


def _pictures(folder: Path) -> tuple[Images, Images, tuple[str, ...]]:
    """A folder's pictures, in grey, resized; each of its folders is a class, of its name. Those in
    `test/` test, if there is that and `train/`; else one in five."""
    from nas_mnist.training.pictures import class_folders, read_pictures

    check_folder("--dataset folder", folder)
    parts = [folder / part for part in ("train", "test")]
    there = [part for part in parts if part.is_dir()]
    try:
        if len(there) == 1 and class_folders(there[0]):
            (missing,) = {*parts} - {*there}
            raise DataError(f"there is {there[0]}, and no {missing}; make it, or name {there[0]}")
        if len(there) < 2:
            images, labels, classes = read_pictures(folder)
            return (*_one_in_five(_checked(images, labels)), tuple(classes))
        (*train, classes), (*test, others) = map(read_pictures, parts)
        if differing := sorted({*classes} ^ {*others}):
            raise DataError(
                f"{differing[0]} is a class of only one of {' and '.join(map(str, parts))}"
            )
        return _checked(*train), _checked(*test), tuple(classes)
    except OSError as error:
        raise DataError(f"--dataset folder: {error.filename}: {reason(error)}") from None
    except DataError as error:
        way_out = "--data-dir names a folder that has a folder of pictures for each class"
        raise DataError(f"--dataset folder: {error}; {way_out}") from None


def _one_in_five(images: Images) -> tuple[Images, Images]:
    """To train and to test, in an order that never changes."""
    order = _shuffled(images, 0)
    test, train = order.tensor_split([len(order) // 5])
    return images.at(train), images.at(test)


def _digits() -> tuple[Images, Images]:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels, resized; one in five tests. They are
    of Alpaydin and Kaynak (1998; UCI Machine Learning Repository, CC BY 4.0). The file is
    scikit-learn's own: to import all of that takes a second."""
    rows = np.loadtxt(_DIGITS, np.float32, delimiter=",")  # 64 pixels from 0 to 16, and the label
    small = torch.from_numpy(rows[:, :64]).view(-1, 1, 8, 8) * (255 / 16)
    large = functional.interpolate(small, INPUT_SHAPE[1:], mode="bilinear", align_corners=False)
    labels = torch.from_numpy(rows[:, 64]).long()
    return _one_in_five(Images(large.round().to(torch.uint8), labels))
